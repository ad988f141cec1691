"""Requests from one dialect into another, sans-I/O: pieces made once per message, joined by one pass per direction."""

from trimtab.translate.names import Spelling
from trimtab.translate.piece import Kind, Piece
from trimtab.translate.reply import OwnIds, respelled
from trimtab.translate.request import Translated, gone, pieces, spelling, translate
from trimtab.translate.unshown import unshown

__all__ = [
    "Kind",
    "OwnIds",
    "Piece",
    "Spelling",
    "Translated",
    "gone",
    "pieces",
    "respelled",
    "spelling",
    "translate",
    "unshown",
]
