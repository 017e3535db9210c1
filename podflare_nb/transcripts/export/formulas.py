"""LaTeX formulas as MathML, which every browser draws by itself: no script, no font, no network.

A formula that cannot be read is shown as its source. The result is rebuilt from a list of known elements,
since LaTeX may carry links and styles.
"""

from __future__ import annotations

from html import escape
from xml.etree import ElementTree as ET

from latex2mathml.converter import convert

NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
LONGEST_FORMULA = 10_000

ELEMENTS = frozenset(
    "math mi mn mo ms mtext mspace mrow mfrac msqrt mroot mstyle"  # noqa: SIM905  # words, not code
    " merror mpadded mphantom menclose msub msup msubsup munder mover munderover mmultiscripts"
    " mtable mtr mtd".split()
)
ATTRIBUTES = frozenset(
    "accent accentunder align columnalign columnlines"  # noqa: SIM905  # as above
    " columnspacing displaystyle fence form height largeop linethickness lspace mathvariant maxsize"
    " minsize movablelimits notation rowspacing rspace separator stretchy symmetric width depth".split()
)


def to_mathml(latex: str, *, block: bool) -> str:
    """Convert one formula (without its dollars) to MathML."""
    if len(latex) > LONGEST_FORMULA:
        return _source(latex)
    try:
        # The XML is the converter's own, never the tenant's: its texts are escaped by the library.
        tree = ET.fromstring(convert(latex, display="block" if block else "inline"))  # noqa: S314
    except Exception:  # noqa: BLE001  # the converter raises many kinds for LaTeX that it cannot read
        return _source(latex)
    display = "block" if block else "inline"
    return f'<math display="{display}">{"".join(_element(child) for child in tree)}</math>'


def _element(element: ET.Element) -> str:
    name = element.tag.removeprefix(NAMESPACE)
    inner = escape(element.text or "") + "".join(_element(child) for child in element)
    if name not in ELEMENTS:
        return inner
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in element.attrib.items() if key in ATTRIBUTES)
    return f"<{name}{attributes}>{inner}</{name}>"


def _source(latex: str) -> str:
    return f"<code>{escape(latex)}</code>"
