"""LaTeX formulas in Markdown as MathML, which every current browser draws without a script."""

import re

from latex2mathml.converter import convert

_CODE = r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)|(?P<ticks>`+)[^`].*?(?P=ticks)"
_BLOCK, _INLINE = r"\$\$(?P<block>.+?)\$\$", r"\$(?P<inline>[^$\s](?:[^$\n]*[^$\s])?)\$"
_FORMULA = re.compile(f"{_CODE}|{_BLOCK}|{_INLINE}", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"<m[io]>(ln|log|exp|max|min)</m[io]>")  # without spaces around it


def replace_formulas(markdown: str) -> str:
    """Return Markdown whose formulas, `$...$` and `$$...$$` outside of code, are MathML.

    Raises:
        ValueError: A formula has a command that the converter does not know.
    """
    return _FORMULA.sub(_replace, markdown)


def _replace(match: re.Match) -> str:
    latex = match["block"] or match["inline"]
    if not latex:
        return match[0]
    mathml = convert(latex, display="block" if match["block"] else "inline")
    if "\\" in mathml:
        raise ValueError(f"latex2mathml leaves a command of {latex!r} as it is; write the formula in another way.")
    return _FUNCTION.sub(r'<mo form="prefix" lspace="0.17em" rspace="0.17em">\1</mo>', mathml)
