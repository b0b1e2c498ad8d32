"""SQL: tables, transactions with an outbox, claims, migrations. Rows are truth; nothing here caches them."""
