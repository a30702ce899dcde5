"""Checkpoints that several ranks write and read together, each its part; of one process, too."""

from flambeau.distributed.checkpoint.api import CheckpointException as CheckpointException
from flambeau.distributed.checkpoint.default_planner import (
    DefaultLoadPlanner as DefaultLoadPlanner,
    DefaultSavePlanner as DefaultSavePlanner,
)
from flambeau.distributed.checkpoint.filesystem import (
    FileSystemReader as FileSystemReader,
    FileSystemWriter as FileSystemWriter,
)
from flambeau.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader as HuggingFaceStorageReader,
    HuggingFaceStorageWriter as HuggingFaceStorageWriter,
)
from flambeau.distributed.checkpoint.metadata import (
    BytesStorageMetadata as BytesStorageMetadata,
    ChunkStorageMetadata as ChunkStorageMetadata,
    Metadata as Metadata,
    TensorStorageMetadata as TensorStorageMetadata,
)
from flambeau.distributed.checkpoint.planner import (
    LoadPlan as LoadPlan,
    LoadPlanner as LoadPlanner,
    ReadItem as ReadItem,
    SavePlan as SavePlan,
    SavePlanner as SavePlanner,
    WriteItem as WriteItem,
)
from flambeau.distributed.checkpoint.state_dict_loader import load as load, load_state_dict as load_state_dict
from flambeau.distributed.checkpoint.state_dict_saver import (
    async_save as async_save,
    save as save,
    save_state_dict as save_state_dict,
)
from flambeau.distributed.checkpoint.storage import StorageReader as StorageReader, StorageWriter as StorageWriter
