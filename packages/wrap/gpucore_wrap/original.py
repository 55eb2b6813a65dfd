"""Specifications of the original generator's shape: `wrapper_lib`, `handle_types`, `cpp_fn`, `cpp_method`.

The nodes are renamed to this generator's keys and keep their positions, so that every later message names the user's own line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from gpucore_wrap.naming import snake
from gpucore_wrap.reader import nearest
from gpucore_wrap.source import MAPPING, SEQUENCE, STRING, Source, items

LIBRARY = {
    "name": "name", "package": "package", "module": "package", "version": "version", "doc": "doc", "description": "doc",
    "lang": "language", "language": "language", "std": "standard", "standard": "standard", "cpp_std": "standard",
    "headers": "headers", "includes": "headers", "include": "headers", "header": "headers", "include_dirs": "include_paths",
    "include_paths": "include_paths", "link": "link", "links": "link", "libs": "link", "libraries": "link", "link_libs": "link",
    "lib_dirs": "search_paths", "link_paths": "search_paths", "search_paths": "search_paths", "defines": "defines",
    "availability": "availability", "feature": "availability", "available_macro": "availability", "guard": "availability",
    "requires": "requires", "prelude": "prelude",
}  # fmt: skip
HANDLE = {
    "name": "name", "native": "native", "inner": "native", "inner_type": "native", "cpp_type": "native", "c_type": "native",
    "type": "native", "drop": "drop", "null": "null", "is_null": "null", "null_check": "null", "parent": "parent",
    "threads": "threads", "doc": "doc", "description": "doc", "error": "error",
}  # fmt: skip
FUNCTION = {
    "name": "name", "params": "params", "args": "params", "parameters": "params", "returns": "result", "return": "result",
    "ret": "result", "return_type": "result", "result": "result", "cpp_fn": "cpp_fn", "cpp_body": "cpp_body", "native": "native",
    "c_fn": "native", "doc": "doc", "description": "doc", "error": "error", "discard": "discard", "scope": "scope",
}  # fmt: skip
METHOD = {
    **FUNCTION, "handle": "handle", "handle_type": "handle", "self": "handle", "self_type": "handle", "receiver": "handle",
    "on": "handle", "type": "handle", "class": "handle", "cpp_method": "cpp_method", "kind": "kind",
}  # fmt: skip
PARAM = {
    "name": "name", "type": "type", "ty": "type", "direction": "direction", "count": "count", "capacity": "capacity",
    "optional": "optional", "default": "default", "ownership": "ownership", "doc": "doc", "description": "doc",
}  # fmt: skip
SPEC = {
    "wrapper_lib": "library", "handle_types": "handles", "functions": "functions", "methods": "methods", "enums": "enums",
    "errors": "errors", "callbacks": "callbacks", "constants": "constants",
}  # fmt: skip
LANGUAGES = {"cpp": "c++", "cxx": "c++", "c++": "c++", "cc": "c++", "c": "c"}
STANDARDS = {"17": "c++17", "20": "c++20", "23": "c++23"}
TYPES = {
    "string": "text", "str": "text", "String": "text", "&str": "text", "text": "text", "int": "i32", "uint": "u32", "long": "i64",
    "float": "f32", "double": "f64", "usize": "u64", "size_t": "u64", "isize": "i64", "Vec<u8>": "bytes", "list<u8>": "bytes",
    "[u8]": "bytes", "&[u8]": "bytes", "u8[]": "bytes", "byte": "u8", "ptr": "address", "pointer": "address",
}  # fmt: skip
NOTHING = frozenset({"void", "unit", "()", "none", "None", "null", ""})
ARRAYS = re.compile(
    r"&?\[(\w+)\]|(?:Vec|list|List|array|slice|Slice)<(\w+)>|(?:list|List|array)\[(\w+)\]|(\w+)\[\]"
)
OPTIONAL = re.compile(r"(?:Option|optional|Optional)[<\[](.+)[>\]]|(.+)\?")
RUST = "Rust libraries are not wrapped: the bridge is C++"
RUST_FIX = "export a C ABI from the Rust library (cbindgen writes its header) and wrap that with `c`"


def is_original(root: yaml.MappingNode) -> bool:
    """Whether the keys are the original's."""
    names = {key.value for key, _ in root.value if isinstance(key, yaml.ScalarNode)}
    return bool(names & {"wrapper_lib", "handle_types"})


def refuse_rust(source: Source, root: yaml.MappingNode) -> bool:
    """Note `lang: rust`, in either shape, at its own line; say whether it was there."""
    found = False
    waiting: list[tuple[yaml.MappingNode, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        for key, value in node.value:
            if isinstance(value, yaml.MappingNode) and depth < 1:
                waiting.append((value, depth + 1))
            named = isinstance(key, yaml.ScalarNode) and key.value in ("lang", "language")
            if named and isinstance(value, yaml.ScalarNode) and value.value.lower() in ("rust", "rs"):
                source.add(source.position(value), RUST, RUST_FIX)
                found = True
    return found


def translate(source: Source, root: yaml.MappingNode) -> yaml.MappingNode:
    """The same specification with this generator's keys; problems go to the source."""
    return _Translator(source).root(root)


class _Translator:
    def __init__(self, source: Source) -> None:
        self.source = source

    def text(self, value: str, like: yaml.Node) -> yaml.ScalarNode:
        style = like.style if isinstance(like, yaml.ScalarNode) else None
        return yaml.ScalarNode(STRING, value, like.start_mark, like.end_mark, style)

    def mapping(self, pairs: list[tuple[yaml.Node, yaml.Node]], like: yaml.Node) -> yaml.MappingNode:
        return yaml.MappingNode(MAPPING, pairs, like.start_mark, like.end_mark)

    def sequence(self, nodes: list[yaml.Node], like: yaml.Node) -> yaml.SequenceNode:
        return yaml.SequenceNode(SEQUENCE, nodes, like.start_mark, like.end_mark)

    def renamed(
        self, node: yaml.Node, names: Mapping[str, str], what: str
    ) -> list[tuple[str, yaml.ScalarNode, yaml.Node]]:
        """The pairs of a mapping with their new keys; unknown keys are noted."""
        found: list[tuple[str, yaml.ScalarNode, yaml.Node]] = []
        if not isinstance(node, yaml.MappingNode):
            self.source.add(
                self.source.position(node), f"{what} must be a mapping", "write `key: value` pairs"
            )
            return found
        for name, key, value in items(self.source, node):
            if name not in names:
                self.source.add(
                    self.source.position(key), f"unknown key `{name}` in {what}", nearest(name, names)
                )
                continue
            new = names[name]
            if any(known == new for known, _, _ in found):
                self.source.add(
                    self.source.position(key), f"`{name}` of {what} says `{new}` a second time", "keep one"
                )
                continue
            found.append((new, self.text(new, key), value))
        return found

    def root(self, node: yaml.MappingNode) -> yaml.MappingNode:
        top = dict[str, tuple[yaml.Node, yaml.Node]]()
        nested: list[tuple[yaml.Node, yaml.Node]] = []
        library: tuple[yaml.Node, yaml.Node] | None = None
        for name, key, value in items(self.source, node):
            if name == "wrapper_lib":
                library = (key, value)
            elif name in SPEC:
                top[SPEC[name]] = (key, value)
            elif name in LIBRARY:
                nested.append((key, value))
            else:
                self.source.add(self.source.position(key), f"unknown key `{name}`", nearest(name, SPEC))
        if library is not None and isinstance(library[1], yaml.MappingNode):
            for key, value in library[1].value:
                if isinstance(key, yaml.ScalarNode) and key.value in SPEC and key.value not in LIBRARY:
                    top.setdefault(SPEC[key.value], (key, value))
                else:
                    nested.append((key, value))
        elif library is not None:
            nested.append((self.text("name", library[0]), library[1]))
        like = library[1] if library is not None else node
        made = self.library(self.mapping(nested, like))
        pairs: list[tuple[yaml.Node, yaml.Node]] = [(self.text("library", like), made)]
        library_name = next(
            (v.value for k, v in made.value if k.value == "name" and isinstance(v, yaml.ScalarNode)), ""
        )
        handles, methods = self.handles(top.pop("handles", None), library_name)
        if handles is not None:
            pairs.append((self.text("handles", handles), handles))
        functions = top.pop("functions", None)
        if functions is not None:
            made_functions = [
                self.function(item, FUNCTION, "a function") for item in self.items(functions[1], "functions")
            ]
            pairs.append(
                (self.text("functions", functions[0]), self.sequence(list(made_functions), functions[1]))
            )
        given = top.pop("methods", None)
        if given is not None:
            methods += self.methods(given[1])
        if methods:
            pairs.append((self.text("methods", methods[0]), self.sequence(list(methods), methods[0])))
        pairs += [(self.text(name, key), value) for name, (key, value) in top.items()]
        return self.mapping(pairs, node)

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The items of a list, or of a mapping from names to items."""
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if isinstance(node, yaml.MappingNode):
            found: list[yaml.Node] = []
            for _, key, value in items(self.source, node):
                pair = (self.text("name", key), key)
                if isinstance(value, yaml.MappingNode):
                    found.append(self.mapping([pair, *value.value], value))
                else:
                    found.append(self.mapping([pair, (self.text("type", key), value)], key))
            return found
        if not (isinstance(node, yaml.ScalarNode) and node.value in ("", "~")):
            self.source.add(
                self.source.position(node), f"`{what}` must be a list", "begin each item with `- `"
            )
        return []

    def library(self, node: yaml.MappingNode) -> yaml.MappingNode:
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for name, key, value in self.renamed(node, LIBRARY, "`wrapper_lib`"):
            new: yaml.Node = value
            if isinstance(value, yaml.ScalarNode):
                if name == "language":
                    new = self.text(LANGUAGES.get(value.value.lower(), value.value), value)
                elif name == "standard":
                    new = self.text(STANDARDS.get(value.value, value.value), value)
                elif name in ("headers", "link", "include_paths", "search_paths", "requires"):
                    new = self.sequence([value], value)
            pairs.append((key, new))
        if not any(isinstance(key, yaml.ScalarNode) and key.value == "language" for key, _ in pairs):
            pairs.append((self.text("language", node), self.text("c++", node)))
        return self.mapping(pairs, node)

    def handles(
        self, given: tuple[yaml.Node, yaml.Node] | None, library: str
    ) -> tuple[yaml.SequenceNode | None, list[yaml.MappingNode]]:
        if given is None:
            return None, []
        made: list[yaml.Node] = []
        methods: list[yaml.MappingNode] = []
        for item in self.items(given[1], "handle_types"):
            inside: list[tuple[yaml.Node, yaml.Node]] = []
            own: yaml.Node | None = None
            for key, value in item.value if isinstance(item, yaml.MappingNode) else []:
                if isinstance(key, yaml.ScalarNode) and key.value == "methods":
                    own = value
                else:
                    inside.append((key, value))
            node = self.mapping(inside, item) if isinstance(item, yaml.MappingNode) else item
            found = self.renamed(node, HANDLE, "a handle type")
            name = next((value for known, _, value in found if known == "name"), None)
            label = name.value if isinstance(name, yaml.ScalarNode) else ""
            pairs: list[tuple[yaml.Node, yaml.Node]] = [
                (key, value)
                for known, key, value in found
                if not (known == "drop" and _own_symbol(value, label, library))
            ]
            made.append(self.mapping(pairs, node))
            if own is not None and name is not None:
                methods += self.methods(own, name)
        return self.sequence(made, given[1]), methods

    def methods(self, node: yaml.Node, handle: yaml.Node | None = None) -> list[yaml.MappingNode]:
        made = []
        for item in self.items(node, "methods"):
            method = self.function(item, METHOD, "a method")
            if handle is not None:
                method.value.insert(0, (self.text("handle", handle), handle))
            made.append(method)
        return made

    def function(self, node: yaml.Node, names: Mapping[str, str], what: str) -> yaml.MappingNode:
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for name, key, value in self.renamed(node, names, what):
            if name == "params":
                params = [self.param(item) for item in self.items(value, "params")]
                pairs.append((key, self.sequence(list(params), value)))
            elif name == "result":
                result = self.result(value)
                if result is not None:
                    pairs.append((key, result))
            elif name == "handle" and isinstance(value, yaml.ScalarNode):
                pairs.append((key, self.text(value.value.strip("&* "), value)))
            else:
                pairs.append((key, value))
        return self.mapping(pairs, node)

    def param(self, node: yaml.Node) -> yaml.MappingNode:
        if isinstance(node, yaml.MappingNode) and len(node.value) == 1:  # `- rows: i64`
            key, value = node.value[0]
            if isinstance(key, yaml.ScalarNode) and key.value not in PARAM:
                node = self.mapping([(self.text("name", key), key), (self.text("type", value), value)], node)
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for name, key, value in self.renamed(node, PARAM, "a parameter"):
            if name == "type" and isinstance(value, yaml.ScalarNode):
                type_, optional = _type(value.value)
                pairs.append((key, self.text(type_, value)))
                if optional:
                    pairs.append((self.text("optional", key), self.text("true", key)))
            else:
                pairs.append((key, value))
        return self.mapping(pairs, node)

    def result(self, node: yaml.Node) -> yaml.Node | None:
        if isinstance(node, yaml.MappingNode):
            return self.param(node)
        if not isinstance(node, yaml.ScalarNode):
            return node
        if node.value.strip() in NOTHING:
            return None
        type_, optional = _type(node.value)
        pairs: list[tuple[yaml.Node, yaml.Node]] = [(self.text("type", node), self.text(type_, node))]
        if optional:
            pairs.append(
                (self.text("optional", node), self.text("true", yaml.ScalarNode(STRING, "", node.start_mark)))
            )
        return self.mapping(pairs, node)


def _type(text: str) -> tuple[str, bool]:
    """This generator's spelling of a type, and whether it is optional."""
    name = text.strip()
    optional = OPTIONAL.fullmatch(name)
    if optional:
        return _type(optional.group(1) or optional.group(2))[0], True
    if name in TYPES:
        return TYPES[name], False
    array = ARRAYS.fullmatch(name)
    if array:
        item = next(group for group in array.groups() if group)
        return f"array[{TYPES.get(item, item)}]", False
    return name.strip("&* "), False


def _own_symbol(node: yaml.Node, handle: str, library: str) -> bool:
    """Whether `drop` names the symbol that the original was to generate: then the destructor is meant."""
    if not isinstance(node, yaml.ScalarNode):
        return False
    stems = {
        snake(handle),
        f"{snake(library)}_{snake(handle)}",
        snake(handle).removeprefix(f"{snake(library)}_"),
    }
    endings = ("drop", "free", "destroy", "delete", "release")
    return node.value.strip() in {f"{stem}_{ending}" for stem in stems for ending in endings}
