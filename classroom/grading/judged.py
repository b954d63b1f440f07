"""A step of nbgrader's autograding, named in the course folder's nbgrader_config.py."""

from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade


class OnlyJudged(NbGraderPreprocessor):
    """Fails every test that `companion grade` has not run: without outputs, it would count as passed."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        """Put an error into a test cell without our mark."""
        if cell.cell_type == "code" and is_grade(cell) and not cell.metadata.get("companion", {}).get("judged"):
            said = "this notebook was not run; use `companion grade`"
            error = {"ename": "NotJudged", "evalue": said, "traceback": [f"NotJudged: {said}"]}
            cell.outputs = [NotebookNode(output_type="error", **error)]
        return cell, resources
