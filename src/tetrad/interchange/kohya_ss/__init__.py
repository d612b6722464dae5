"""kohya_ss' configurations: what its page makes of them before sd-scripts reads them.

`read` turns the page's fields into sd-scripts' keys, `keys` lists the fields that are its own, `length` counts steps as
the page does and decides which rates it hands on.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "read": ["read_kohya_ss"],
    },
)
