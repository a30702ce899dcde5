"""sentence-transformers: an encoder assembled from modules, embeddings, similarities, losses, saving and loading."""

import torch
import transformers as tf
from sentence_transformers import SentenceTransformer, losses, util
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers


def _encoder():
    words = {
        w: i
        for i, w in enumerate(
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "the", "play", "was"]
        )
    }
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained("base")
    torch.manual_seed(0)
    tf.BertModel(
        tf.BertConfig(vocab_size=12, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    ).save_pretrained("base")
    word = Transformer("base", max_seq_length=16)
    return SentenceTransformer(modules=[word, Pooling(16, "mean"), Dense(16, 8), Normalize()], device="cpu")


_sentences = ["a good film", "the play was bad", "a bad film", "good"]


def embeddings():
    model = _encoder()
    out = model.encode(_sentences, convert_to_tensor=True, show_progress_bar=False)
    model.save("saved")
    again = SentenceTransformer("saved", device="cpu").encode(
        _sentences, convert_to_tensor=True, show_progress_bar=False
    )
    return {
        "out": out,
        "similar": util.cos_sim(out, out),
        "difference": (out - again).abs().max(),
        "search": [[h["corpus_id"] for h in r] for r in util.semantic_search(out[:1], out, top_k=3)],
    }


def trained():
    model = _encoder()
    loss_of = {
        "cosine": losses.CosineSimilarityLoss(model),
        "ranking": losses.MultipleNegativesRankingLoss(model),
        "contrastive": losses.ContrastiveLoss(model),
    }
    features = [model.tokenize(_sentences[:2]), model.tokenize(_sentences[2:])]
    optimizer, out = torch.optim.AdamW(model.parameters(), lr=1e-3), {}
    for name, loss in loss_of.items():
        out[name] = []
        for _ in range(2):
            value = loss(features, torch.tensor([0.3, 0.9]) if name == "cosine" else torch.tensor([0, 1]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            out[name].append(value.item())
    return out
