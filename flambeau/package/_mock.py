"""Stands for what was left out of a package: may be imported and named, not used. Is written into packages as it is."""


class MockedObject:
    """Something that was left out."""

    _name: str

    def __new__(cls, *args, **kwargs):
        if not kwargs.get("_suppress_err"):
            raise NotImplementedError(
                f"Object '{cls._name}' was mocked out during packaging but it is being used in '__new__'. If this error is "
                "happening during 'load_pickle', please ensure that your pickled object doesn't contain any mocked objects."
            )
        return super().__new__(cls)

    def __init__(self, name: str, _suppress_err: bool):
        self.__dict__["_name"] = name

    def __repr__(self):
        return f"MockedObject({self._name})"


_UNARY = (
    "bool bytes ceil complex copy deepcopy dir enter exit float floor getstate hash index int invert iter len neg nonzero \
pos reduce reversed round sizeof trunc abs long oct hex unicode"
)
_BINARY = "add and div divmod floordiv lshift mod mul or pow rshift sub truediv xor"
_OTHER = (
    "call cmp contains delattr delitem eq ge getattr getitem gt instancecheck le lt ne setattr setitem subclasscheck"
)


def _refuse(method_name):
    def refused(self, *args, **kwargs):
        raise NotImplementedError(
            f"Object '{self._name}' was mocked out during packaging but it is being used in {method_name}"
        )

    setattr(MockedObject, method_name, refused)


for _name in (_UNARY + " " + _BINARY + " " + _OTHER).split():
    _refuse(f"__{_name}__")
for _name in _BINARY.split():
    _refuse(f"__r{_name}__")
    _refuse(f"__i{_name}__")
