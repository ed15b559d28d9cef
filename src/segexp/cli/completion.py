"""Shell completion of commands, keys, options and values."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from segexp.atomic import atomic_write
from segexp.errors import ConfigError

SCRIPTS = {
    "bash": """_segexp() {
  local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" all
  local word="${line##* }"
  all=$(segexp --complete "${line#* }")
  COMPREPLY=($(compgen -W "$all" -- "$word"))
  if [[ $word == *=* ]]; then COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}"); fi
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.] ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -F _segexp segexp
""",
    "zsh": """#compdef segexp
_segexp() {
  local -a all
  all=("${(@f)$(segexp --complete "${${BUFFER[1,CURSOR]}#* }")}")
  if (( ${#all} )) && [[ -n $all[1] ]]; then compadd -S '' -- $all; else _files; fi
}
compdef _segexp segexp
""",
    "fish": """complete -c segexp -f -a '(segexp --complete (commandline -cp | string replace -r "^\\\\S+ " ""))'
""",
}
"""Completion script of each shell. COMP_WORDBREAKS of bash contains =, so the part before it is removed."""

PLACES = {
    "bash": ".local/share/bash-completion/completions/segexp",
    "zsh": ".zfunc/_segexp",
    "fish": ".config/fish/completions/segexp.fish",
}
"""Installation path of each script, below the home directory."""

HINTS = {
    "bash": "Open a new terminal; without the package bash-completion, add to ~/.bashrc: source {file}",
    "zsh": "Add to ~/.zshrc, where it is missing: fpath+=~/.zfunc; autoload -Uz compinit && compinit",
    "fish": "Open a new terminal",
}


def run(option: str, words: Sequence[str], commands: Sequence[str]) -> int:
    """Run `--install-completion`, `--show-completion` or `--complete`; return the exit code.

    Raises:
        ConfigError: the shell is unknown.
    """
    if option == "--complete":
        typed = words[0] if words else ""
        sys.stdout.writelines(f"{candidate}\n" for candidate in candidates(typed, commands))
        return 0
    shell = words[0] if words else Path(os.environ.get("SHELL", "")).name
    if shell not in SCRIPTS:
        found = f"The shell {shell!r} is not known" if shell else "SHELL does not say which shell this is"
        raise ConfigError(found, "bash, zsh or fish was expected", f"Type segexp {option} bash")
    if option == "--show-completion":
        sys.stdout.write(SCRIPTS[shell])
        return 0
    file = Path.home() / PLACES[shell]
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as part:
        part.write_text(SCRIPTS[shell], encoding="utf-8")
    sys.stdout.write(f"Written: {file}\n{HINTS[shell].format(file=file)}\n")
    return 0


def candidates(typed: str, commands: Sequence[str]) -> list[str]:
    """Return the completions of the last word typed after `segexp`; `commands` are the possible first words."""
    from segexp.config.schema import COMMANDS

    *before, word = typed.split(" ")
    if not before:
        known = list(commands)
    elif before[0] not in COMMANDS:
        known = []
    elif "=" in word:
        key, _, value = word.rpartition("=")
        start, comma, _ = value.rpartition(",")
        known = [f"{key}={start}{comma}{each}" for each in values(before[0], key.lstrip("+"))]
    else:
        known = [f"{key}=" for key in keys(before[0], before[1:])]
        if "." not in word:  # complete keys of a section only after its name
            known = [key for key in known if "." not in key] + sorted(
                {f"{key.partition('.')[0]}." for key in known if "." in key}
            )
    return [each for each in known if each.startswith(word)]


def keys(verb: str, words: Sequence[str]) -> list[str]:
    """Return the dotted keys of a command, given the words typed so far; components have those of the chosen option."""
    from segexp.config.composition import GROUPS, conf_dir
    from segexp.config.schema import COMMANDS, SECTIONS

    lines = _read_yaml(conf_dir() / "train.yaml")["defaults"]
    chosen = {group: option for line in lines if isinstance(line, dict) for group, option in line.items()}
    chosen |= dict(word.split("=", 1) for word in words if "=" in word)
    groups = [*GROUPS, "experiment"] if verb in ("train", "check") else ["metrics"] if verb == "evaluate" else []
    found = [*groups]
    for group in groups:
        if group in SECTIONS:
            found += [f"{group}.{name}" for name in SECTIONS[group].model_fields]
        elif (file := conf_dir() / group / f"{chosen.get(group)}.yaml").is_file():
            found += [f"{group}.{name}" for name in _flat(_read_yaml(file))]
    for name, field in COMMANDS[verb].model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if name not in groups:
            found += [f"{name}.{each}" for each in inner] if inner else [name]
    return found


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def _flat(node: dict[str, Any]) -> list[str]:
    found = []
    for name, value in node.items():
        if not name.startswith("_") and name not in ("defaults", "in_channels", "num_classes"):
            inner = _flat(value) if isinstance(value, dict) else []
            found += [f"{name}.{each}" for each in inner] or [name]
    return found


def values(verb: str, key: str) -> list[str]:
    """Return the possible values of a key: options of a group, choices, or true and false; else []."""
    from segexp.config.composition import conf_dir
    from segexp.config.schema import COMMANDS, SECTIONS
    from segexp.config.suggestions import options

    groups = options([conf_dir()])
    if key in groups:
        return groups[key]
    section, _, name = key.rpartition(".")
    model = SECTIONS.get(section) if section else COMMANDS[verb]
    field = model.model_fields.get(name) if model else None
    return _choices(field.annotation) if field else []


def _choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return list(dict.fromkeys(map(str, get_args(annotation))))
    return [each for part in get_args(annotation) for each in _choices(part)]
