"""Count an n-gram model of a text: `python -m zoo.ngram --order=5 --out=runs/ngram`."""
