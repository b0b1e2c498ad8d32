"""Use cases: what a request, a page or a command may ask of the hub. One public function, one transaction.

They write intent and return; nothing here calls a spawner (`reconcile/` does).
"""
