# The region term of RMI, weighted as in RMI, with softmax cross entropy in the place of BCE.
ce_region_term = [
    dict(type='CrossEntropyLoss', avg_non_ignore=True),
    dict(type='RMILoss', loss_lambda=0.0, loss_weight=0.5),
]
