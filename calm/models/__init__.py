"""What is the method? Section 3 of the paper, a file a part.

| equation | code |
|---|---|
| 2, 3: encoder, nearest code | `quantizer.NeuralQuantizer.encode`, `codebook.Codebook.nearest` |
| 4: reconstruction loss | `quantizer.NeuralQuantizer.training_loss` |
| 5-8: commitment, entropy and orthogonality of the codes | `codebook.Codebook.losses` |
| 9: loss of the causal head | `quantizer.NeuralQuantizer.prediction_losses` |
| 10, 11: next-token cross-entropy | `transformer.DualAxisTransformer.prediction_losses` |
| 12: scheduled sampling | `transformer.DualAxisTransformer.feed_back` |
| 13: replacement by neighbouring codes | `transformer.DualAxisTransformer.replace_neighbours` |
| 14: the three losses | `transformer.DualAxisTransformer.three_losses` |
| 15: linear head | `heads.LinearHead` |
| 16: GLU head | `heads.GLUHead` |
"""
