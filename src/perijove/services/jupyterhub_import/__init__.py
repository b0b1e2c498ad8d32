"""Taking over what JupyterHub 4, 5 or 6 keeps in its database.

`source` reads it, and only reads; `taking` writes what is taken into ours, in one transaction, so that a killed
import has taken nothing, by `people`, `running` and `credentials`; `mapping` is what one row becomes; `report`
says what was taken, what was not, and why.
"""
