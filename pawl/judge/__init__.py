"""Teacher models as scorers: rubric, questions, client, ledger, and a fake teacher for tests."""
