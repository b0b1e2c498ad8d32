"""`python -m perijove.cli`: how `up` starts its children with the interpreter it runs under itself."""

from perijove.cli.main import main

main()
