"""`torch.cuda.streams`: the names of queues under the path where PyTorch has them."""

from flambeau.cuda import Event as Event, ExternalStream as ExternalStream, Stream as Stream
