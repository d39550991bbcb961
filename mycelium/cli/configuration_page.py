"""docs/configuration.md, drawn from the table of settings: `mycelium config options --markdown` prints it.

A test holds the page in docs against this, so that no setting is missing there.
"""

from __future__ import annotations

from typing import Any, Final

from mycelium.node.options import OPTIONS, PROGRAM_VARIABLES, REQUIRED, SECTIONS, Option

_INTRO: Final = """# Configuration

One TOML file says everything about a node. `mycelium init` asks five questions and writes it; `mycelium config check`
prints every value with where it comes from, and every mistake in one pass with its line and its remedy;
`mycelium doctor` looks at the machine, the wallet, the chain and the data.

Each setting is taken from the first of these places that says it:

1. a flag: `--set KEY=VALUE` with any setting below, or a short one such as `--listen` (see `mycelium node run --help`);
2. an environment variable: the setting's own (`node.data_dir` is `MYCELIUM_NODE_DATA_DIR`), then those of Fiber and of
   the Bittensor SDK in the order given below; an empty variable counts as none;
3. the same variables in a file that is named by `--env-file` or `MYCELIUM_ENV_FILE`; no `.env` is read unasked;
4. the configuration file: `--config`, `MYCELIUM_CONFIG`, `./node.toml`, `~/.config/mycelium/config.toml`,
   `/etc/mycelium/config.toml`, the first that there is;
5. the default.

In variables and flags, lists have commas between their items, and tables are written as in TOML:

```
MYCELIUM_TABLES='{ scores = { merge = "lww" } }'
```

Settings that exclude each other (a wallet, a key file, a seed; a network, endpoints; a
chain, a members file) go together: the strongest place that names one of them puts the others out of force. A variable
of Fiber or the SDK never replaces a key file, a seed or a members file: it would change who a node is without a word.

A Python program that opens a node itself, `Node.open("node.toml")`, reads the file alone;
`mycelium.node.configuration.load()` gives it the settings of all places.

`kill -HUP` lets a running node read everything again. What is marked *reloads* changes at once; the log names what else
has changed and needs a restart; a file with a mistake changes nothing.
"""


def page() -> str:
    """The page, with a newline at its end."""
    parts = [_INTRO]
    for section in SECTIONS:
        parts.append(f"## [{section}]\n")
        rows = ["| setting | default | variables | meaning |", "|---|---|---|---|"]
        rows += [_row(option) for option in OPTIONS if option.section == section]
        parts.append("\n".join(rows) + "\n")
    parts.append("## Variables of the program\n")
    rows = ["| variable | meaning |", "|---|---|"]
    rows += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in PROGRAM_VARIABLES.items()]
    parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _row(option: Option) -> str:
    names = ", ".join(f"`{name}`" for name in (option.variable, *option.aliases) if name)
    meaning = f"{_cell(option.meaning)}{' *Reloads.*' if option.reload else ''}"
    return f"| `{option.path}` | {_default(option.default)} | {names} | {meaning} |"


def _default(value: Any) -> str:
    if value == REQUIRED:
        return "*required*"
    if value is None or value == "":
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
