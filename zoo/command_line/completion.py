"""Shell completion: a script for bash and zsh, made from what the commands' --help prints."""

import contextlib
import importlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from unittest import mock

import configs

_FLAG = re.compile(
    r"^(?:│| ) (?:-h, )?(--[a-z][\w.-]*)(?:, --[\w.-]+)?(?: \{([\w.,-]+)\}(?!\|))?", re.MULTILINE
)
"""A flag at the start of an entry of the help, and its values if the help lists them."""
_SUBCOMMANDS = re.compile(r"usage: python -m \S+ \[-h\] \{([\w,]+)\}")
_MODELS = list(configs.MODELS | configs.CONTRAST_MODELS)
_NAMES = {
    "--model": _MODELS,
    "--from": _MODELS,
    "--to": _MODELS,
    "--family": [*configs.FAMILIES, *configs.CONTRASTS],
}
HELP_WIDTH = 84
"""Columns of a terminal for the text of --help; more would print the flags side by side."""

_FUNCTION = """\
_gpt_zoo() {
    local current="${COMP_WORDS[COMP_CWORD]}" module="" flag="" i
    COMPREPLY=()
    if [[ "${COMP_WORDS[COMP_CWORD-1]}" == -m ]]; then
        COMPREPLY=($(compgen -W "$_gpt_zoo_modules" -- "$current"))
        return
    fi
    for ((i = 1; i + 1 < COMP_CWORD; i++)); do
        [[ "${COMP_WORDS[i]}" == -m ]] && module="${COMP_WORDS[i+1]}"
    done
    # bash takes --flag=value apart at the equals sign, zsh does not
    if [[ "$current" == --*=* ]]; then
        flag="${current%%=*}"
        COMPREPLY=($(compgen -P "$flag=" -W "$(_gpt_zoo_values "$module" "$flag")" \\
            -- "${current#*=}"))
        return
    elif [[ "$current" == "=" ]]; then
        flag="${COMP_WORDS[COMP_CWORD-1]}" current=""
    elif [[ "${COMP_WORDS[COMP_CWORD-1]}" == "=" ]]; then
        flag="${COMP_WORDS[COMP_CWORD-2]}"
    elif [[ "$current" != -* && "${COMP_WORDS[COMP_CWORD-1]}" == --* ]]; then
        flag="${COMP_WORDS[COMP_CWORD-1]}"
    fi
    if [[ -n "$flag" ]]; then
        COMPREPLY=($(compgen -W "$(_gpt_zoo_values "$module" "$flag")" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$(_gpt_zoo_words "$module")" -- "$current"))
    fi
}
if [[ -n "$ZSH_VERSION" ]]; then
    autoload -U +X compinit && compinit -u
    autoload -U +X bashcompinit && bashcompinit
fi
complete -o default -F _gpt_zoo python python3
"""


def script(modules: Iterable[str]) -> str:
    """Return the script that completes `python -m MODULE --flag=value` for these commands.

    It completes modules, flags, the names of models, and values that a flag's help lists. A word
    that it does not know is completed as a file.
    """
    modules = list(modules)
    words, values = [], []
    for module in modules:
        names = subcommands(help_text(module))
        flags = dict(
            _flags("".join(help_text(module, *name) for name in [[], *([n] for n in names)]))
        )
        words.append((module, [*names, *flags]))
        values += [(f"{module} {flag}", listed) for flag, listed in flags.items() if listed]
    return "\n".join(
        [
            "# bash and zsh: source this file, or eval what made it",
            f'_gpt_zoo_modules="{" ".join(modules)}"',
            *_lookup("_gpt_zoo_words", "$1", words),
            *_lookup("_gpt_zoo_values", "$1 $2", values),
            _FUNCTION,
        ]
    )


def help_text(module: str, *subcommand: str) -> str:
    """Return what `python -m MODULE [SUBCOMMAND] --help` prints."""
    shown = io.StringIO()
    with (
        contextlib.suppress(SystemExit),
        contextlib.redirect_stdout(shown),
        mock.patch.dict(os.environ, {"COLUMNS": str(HELP_WIDTH), "NO_COLOR": "1"}),
    ):
        command = importlib.import_module(module)
        if hasattr(command, "__path__"):  # a package, such as zoo.ngram
            command = importlib.import_module(f"{module}.__main__")
        command.main([*subcommand, "--help"])
    return shown.getvalue()


def subcommands(shown: str) -> list[str]:
    """Return the names that the first line of a help text offers, as in {fit,plan}."""
    offered = _SUBCOMMANDS.match(shown)
    return [] if offered is None else offered[1].split(",")


def _flags(shown: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag of a help text with its values; none if they are not listed.

    The help of a command that takes a whole experiment names --model in its first lines only.
    """
    if " --model" in shown:
        yield "--model", _MODELS
    for flag, choices in _FLAG.findall(shown):
        listed = choices.split(",") if choices else []
        yield flag, _NAMES.get(flag, listed)


def _lookup(name: str, key: str, entries: list[tuple[str, list[str]]]) -> Iterator[str]:
    """Yield the lines of a shell function that prints the words of a key."""
    yield f"{name}() {{"
    yield f'    case "{key}" in'
    yield from (f'        "{entry}") echo "{" ".join(words)}" ;;' for entry, words in entries)
    yield "    esac"
    yield "}"
