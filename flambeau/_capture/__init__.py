"""From a Python function to programs: what `flambeau.compile` does. The public surface is `flambeau.compiler`.

`frame` interprets the function's bytecode with real objects, `recorder` notes each primitive operator that it reaches, `guards`
collects what was assumed about the world outside, `effects` what was changed there. `entries` keeps the captures of a function
and chooses among them.
"""
