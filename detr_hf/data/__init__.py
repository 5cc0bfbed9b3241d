"""One image with its annotations, from any door to any sink: source -> validate -> repair -> sink."""
