"""`Patch`: what is taken live, as one immutable value with a digest."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from hotswap.errors import PatchError, RequirementError, SourceError
from hotswap.patch import requirements
from hotswap.patch.contents import Contents, as_version, listed, reason_of
from hotswap.patch.digests import digest_of
from hotswap.patch.folders import module_of, read_folder, read_module
from hotswap.patch.manifest import Manifest
from hotswap.patch.names import checked_module, locate, named, path_for, tops, unsafe
from hotswap.patch.overrides import checked_overrides, moved_overrides
from hotswap.patch.sources import SourceFile, complaint, encode
from hotswap.patch.wheel import read_wheel, wheel_of

__all__ = ["Patch"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Patch:
    """The sources of some modules, with a name, a version and a digest. Immutable; lives as long as somebody holds it.

    Made by `from_path` or `from_sources`. The bytes were read once: those that were hashed are those that run,
    whatever happens to the files they came from. Two patches with the same digest are equal.
    """

    name: str
    """Name of the distribution or package, such as ``"shop"``."""
    version: Version | None
    """None where nothing states one: the patcher then derives it from the live version. The highest of `versions`."""
    files: Mapping[str, bytes]
    """Path relative to the import root, with ``/``, -> bytes: sources, package data, ``*.dist-info``."""
    complete: frozenset[str] = frozenset()
    """Top-level packages and modules of which the patch holds the whole tree: what it lacks of them is gone.

    A package without ``__init__.py`` is never among them: other distributions may have portions of it.
    """
    requires_python: SpecifierSet | None = None
    """Versions of Python that it runs on, from its metadata."""
    requires: tuple[Requirement, ...] = ()
    """What has to be installed, from its metadata and its manifest."""
    keep: frozenset[str] = frozenset()
    """Data, as ``module:name`` or ``module:Class.attribute``, that stays although its definition changed."""
    replace: frozenset[str] = frozenset()
    """Data that is made anew although its definition did not change."""
    allow_effects: frozenset[str] = frozenset()
    """Kinds of import-time effects that it may leave, from its manifest."""
    checks: tuple[str, ...] = ()
    """Checks to run besides those of the patcher, as ``module:function``, from its manifest."""
    note: str = ""
    """What its manifest says for the history."""
    versions: Mapping[str, Version] = field(default_factory=dict)
    """Top-level package or module -> its version, where not all of the patch have one; what it lacks states none."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts that are not part of the digest: ``origin`` (the path it came from) and ``kind``."""
    sources: Mapping[str, SourceFile] = field(init=False)
    """Module name -> its source, for every module that Python would import from `files`, sorted."""
    extensions: Mapping[str, str] = field(init=False)
    """Module name -> path in `files`, for every compiled extension module that this interpreter would import."""
    digest: str = field(init=False)
    """SHA-256, in hex, over name, versions, `complete`, `keep`, `replace`, and every path with its bytes."""

    def __post_init__(self) -> None:
        files = {path: _frozen(path, self.files[path]) for path in sorted(self.files)}
        located, extensions = locate(files)
        sources = {
            module: SourceFile(module, path, package, files[path]) for module, (path, package) in located.items()
        }
        keep, replace = checked_overrides(self.keep, self.replace, {*sources, *extensions})
        derived = {
            "keep": keep,
            "replace": replace,
            "files": MappingProxyType(files),
            "complete": frozenset(self.complete),
            "requires": tuple(self.requires),
            "allow_effects": frozenset(self.allow_effects),
            "checks": tuple(self.checks),
            "versions": MappingProxyType(dict(self.versions)),
            "metadata": MappingProxyType(dict(self.metadata)),
            "sources": MappingProxyType(sources),
            "extensions": MappingProxyType(extensions),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "digest", digest_of(self))

    # --- making one --------------------------------------------------------------------------------------------------

    @classmethod
    def from_path(
        cls,
        path: str | os.PathLike[str],
        version: str | Version | None = None,
        *,
        module: str | None = None,
        keep: Collection[str] = (),
        replace: Collection[str] = (),
    ) -> Patch:
        """Read a patch from disk; nothing of it is executed.

        Arguments:
            path: a ``.py`` file, a package folder, a folder of packages and modules, or a wheel.
            version: PEP 440 version; it goes before what the folder states, and has to agree with a wheel's.
            module: dotted name of the module or package, for a file or package folder that does not lie in its place.
                Without it, the packages around it say it, or its own name: ``shop.pricing.py`` is ``shop.pricing``.
            keep: data that stays although its definition changed, as ``module:name`` or ``module:Class.attribute``.
            replace: data that is made anew although its definition did not change.

        A single file, and a package inside of another, are partial: they say nothing of the modules beside them.

        Raises `PatchError` for what cannot be used, with everything that is wrong with it; `WheelError` for a wheel
        that is damaged or unsafe; `RequirementError` for a sound wheel that was built for another interpreter.
        """
        wanted = None if version is None else as_version(version)
        place = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - resolve() would lose the name of a link
        return cls._of(_read(place, module), wanted, keep, replace, {"origin": str(place)})

    @classmethod
    def from_bytes(cls, data: bytes, name: str, *, manifest: bytes | None = None) -> Patch:
        """Make a patch of the bytes of one file, wherever they came from; nothing of it is executed.

        Arguments:
            data: the bytes of a ``.py`` file or a wheel.
            name: of the file: it says which module it is (``shop.pricing.py``), or which wheel.
            manifest: the bytes of the ``hotswap.toml`` that lies beside a wheel.

        Raises what `from_path` does.
        """
        if name.endswith(".whl"):
            return cls._of(wheel_of(data, name, manifest), None, (), (), {})
        if not name.endswith(".py") or manifest is not None:
            raise PatchError(
                f"{name} is no {'wheel' if manifest is not None else '.py file and no wheel'}",
                advice="give a wheel (.whl), or a .py file, which has no manifest",
            )
        return cls._of(module_of(data, Path(name), name.removesuffix(".py")), None, (), (), {})

    @classmethod
    def _of(
        cls,
        contents: Contents,
        wanted: Version | None,
        keep: Collection[str],
        replace: Collection[str],
        origin: Mapping[str, str],
    ) -> Patch:
        if contents.kind == "wheel" and wanted not in {None, contents.version}:
            raise PatchError(
                f"version {wanted} was asked for, but {Path(origin['origin']).name} is version {contents.version}",
                patch=f"{contents.name} {contents.version}",
                advice="leave the version out, or give the wheel that was meant",
            )
        said = contents.manifest or Manifest()
        wanted = wanted or said.version
        return cls(
            name=contents.name,
            version=contents.version if wanted is None else wanted,
            versions=contents.versions if wanted is None else {},
            files=contents.files,
            complete=contents.complete,
            requires_python=contents.requires_python,
            requires=(*contents.requires, *said.requirements),
            keep=_joined(keep, said.keep),
            replace=_joined(replace, said.replace),
            allow_effects=said.allow_effects,
            checks=said.checks,
            note=said.note,
            metadata={**origin, "kind": contents.kind},
        )

    @classmethod
    def from_sources(
        cls,
        sources: Mapping[str, str | bytes],
        version: str | Version | None = None,
        *,
        name: str | None = None,
        keep: Collection[str] = (),
        replace: Collection[str] = (),
    ) -> Patch:
        """Make a patch of sources in memory. It is partial: modules that it does not name stay as they are.

        Arguments:
            sources: dotted module name -> source, as text or as the bytes of a file. A name that others lie below is a
                package, and so is one that is written ``shop.__init__``.
            version: PEP 440 version.
            name: of the patch; without it, the top-level names of its modules, joined by ``+``.
            keep, replace: as for `from_path`.

        Raises `PatchError` for an empty mapping, for names that no import statement can say, for sources that are
        neither text nor bytes, and for what is kept or replaced in a module that it lacks.
        """
        if name is not None and not (isinstance(name, str) and name.strip()):
            raise PatchError(f"{name!r} is not a name for a patch", advice="give a name such as 'shop', or none")
        files: dict[str, bytes] = {}
        said = {key: named(key) for key in sources}
        modules = [module for module, _ in said.values()]
        for key, (module, package) in said.items():
            if modules.count(module) > 1:
                raise PatchError(f"the source of {module} is given twice", module=module)
            path = path_for(module, package=package or any(other.startswith(f"{module}.") for other in modules))
            source = sources[key]
            files[path] = encode(source, module) if isinstance(source, str) else _frozen(path, source)
        if not files:
            raise PatchError("there are no sources in it", advice="give at least one module name with its source")
        return cls(
            name="+".join(tops(modules)) if name is None else name,
            version=None if version is None else as_version(version),
            files=files,
            keep=keep,  # type: ignore[arg-type]  # checked and frozen there
            replace=replace,  # type: ignore[arg-type]  # as above
            metadata={"kind": "sources"},
        )

    # --- making another of it ----------------------------------------------------------------------------------------

    def with_version(self, version: str | Version) -> Patch:
        """Return the same patch with another version, which all of its packages get.

        Raises `PatchError` for a text that is no PEP 440 version.
        """
        return self._changed(version=as_version(version), versions={})

    def with_versions(self, versions: Mapping[str, Version]) -> Patch:
        """Return the same patch with a version for each of its packages, and the highest of them as its own."""
        agreed = len(set(versions.values())) == 1
        return self._changed(version=max(versions.values()), versions={} if agreed else versions)

    def version_of(self, package: str) -> Version | None:
        """Return the version that it gives to a top-level package, or None where nothing states one."""
        return self.versions.get(package) if self.versions else self.version

    def renamed(self, old_module: str, new_module: str) -> Patch:
        """Return the same patch with a module, and what lies below it, under another dotted name.

        A patch that was named after its modules is named anew. Raises `PatchError` if there is no such module, or if
        the new name is taken or lies below a module that is not a package.
        """
        new = checked_module(new_module)
        moved = {path: _moved(path, self, old_module, new) for path in self.files}
        if not any(moved.values()):
            raise self._lacks(old_module)
        files = {moved[path] or path: data for path, data in self.files.items()}
        complete = {new if module == old_module else module for module in self.complete}
        named_after = self.name == "+".join(tops([*self.sources, *self.extensions]))
        patch = self._changed(
            files=files,
            complete=frozenset(module for module in complete if "." not in module),
            versions={new if name == old_module else name: version for name, version in self.versions.items()},
            keep=moved_overrides(self.keep, old_module, new),
            replace=moved_overrides(self.replace, old_module, new),
        )
        if len(files) < len(self.files) or len(patch.sources) < len(self.sources):
            raise PatchError(
                f"{old_module} cannot become {new}: another module of the patch is in the way",
                patch=self.label,
                module=old_module,
            )
        return patch._changed(name="+".join(tops([*patch.sources, *patch.extensions]))) if named_after else patch

    def as_package(self, module: str) -> Patch:
        """Return the same patch with a module as the ``__init__.py`` of its package.

        A single source does not say that it is a package; who knows the live module does. Raises `PatchError` if the
        patch has no source of that name.
        """
        source = self.sources.get(module)
        if source is None:
            raise self._lacks(module)
        place = path_for(module, package=True)
        return self._changed(files={place if path == source.path else path: data for path, data in self.files.items()})

    def _changed(self, **fields: object) -> Patch:
        return replace(self, **fields)  # type: ignore[arg-type]  # the callers are four lines away

    def _lacks(self, module: str) -> PatchError:
        return PatchError(
            f"there is no module {module} in it, but {', '.join(self.sources) or 'none at all'}",
            patch=self.label,
            module=module,
        )

    # --- judging it --------------------------------------------------------------------------------------------------

    def check_requirements(self) -> None:
        """Raise `RequirementError`, with everything that this process lacks; return if it lacks nothing."""
        if sentences := requirements.unmet(self.name, self.requires_python, self.requires):
            raise RequirementError(sentences, patch=self.label)

    def compile_sources(self) -> None:
        """Raise `SourceError`, with file, line and reason of every source that is not valid Python.

        Nothing is executed, and the process's warnings stay as they are.
        """
        complaints = {module: issue for module, source in self.sources.items() if (issue := complaint(source))}
        if complaints:
            raise SourceError(
                listed("not valid Python", [*complaints.values()]),
                patch=self.label,
                module=next(iter(complaints)) if len(complaints) == 1 else None,
                advice="correct the source and build the patch anew; nothing of it was executed",
            )

    # --- as a value --------------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """Name and version for people: ``shop 1.2.1``, or ``shop (no version)``."""
        return f"{self.name} {'(no version)' if self.version is None else self.version}"

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Patch) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Patch {self.label}, {len(self.sources)} modules, sha256 {self.digest[:12]}>"


def _joined(given: Collection[str], said: frozenset[str]) -> frozenset[str]:
    # What is no collection of names is told by the check of all that is kept and replaced.
    return frozenset({*given, *said}) if said and not isinstance(given, str) else given  # type: ignore[return-value]


def _read(path: Path, module: str | None) -> Contents:
    try:
        if not path.exists():
            raise PatchError(f"{path} does not exist", advice="give the path of what was built")
        if path.is_dir():
            return read_folder(path, module)
    except (OSError, ValueError) as error:
        raise PatchError(f"{path} cannot be read: {reason_of(error)}") from error
    if path.suffix == ".py":
        return read_module(path, module)
    if path.suffix != ".whl":
        raise PatchError(
            f"{path} has the suffix {path.suffix!r}, which is no patch",
            advice="give a .py file, a package folder, a folder of packages, or a wheel (.whl)",
        )
    if module is not None:
        raise PatchError(f"a wheel names its modules itself; module={module!r} is for a file or package folder")
    return read_wheel(path)


def _frozen(path: str, data: object) -> bytes:
    """Return bytes that nobody else can change, for a path that leads nowhere else."""
    if issue := unsafe(path):
        raise PatchError(f"{path!r} {issue}")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise PatchError(f"{path} has to be text or bytes, not {type(data).__name__}")
    return bytes(data)


def _moved(path: str, patch: Patch, old: str, new: str) -> str | None:
    """Return where a file goes when the module `old` is renamed to `new`; None if it stays."""
    before, after = old.replace(".", "/"), new.replace(".", "/")
    source = patch.sources.get(old)
    if source is not None and source.path == path:
        return path_for(new, package=source.package)
    extension = patch.extensions.get(old)
    if path.startswith(f"{before}/") or (extension == path and "/__init__." not in path):
        return after + path[len(before) :]
    return None
