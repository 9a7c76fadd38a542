"""The bench's work in Python: filters on an integer column and rewrites a text column."""

from wit_world import exports
from wit_world.exports import transformer
from wit_world.imports import types


class Transformer(exports.Transformer):
    def describe(self):
        return transformer.ModuleInfo(name="bench-python", version="1.0.0", config_schema=None)

    def plan(self, table, schema, config):
        text = types.SqlType_Scalar(types.ScalarType_Text(None))
        plan = types.TablePlan(
            target_namespace=None, target_name=None, renames=[], drops=[], outputs=[], primary_key=None, rows=None, notes=[], hints=[]
        )
        plan.outputs = [types.OutputColumn("kind", text, True, types.ColumnSource_Computed())]
        plan.rows = types.RowPlan(
            inputs=["account", "kind"], needs=types.RowNeeds.DETERMINISTIC | types.RowNeeds.FILTERS, text=types.TextLayout.STRINGS
        )
        return types.PlanOutcome_Include(plan)

    def transform(self, table, batch):
        numbers, texts = batch.columns
        keep = bytearray(b"\xff" * ((batch.rows + 7) // 8))
        for row, number in enumerate(numbers.values.value):
            if number < 0:
                keep[row // 8] &= ~(1 << (row % 8))
        column = types.Column(texts.nulls, texts.absent, types.Values_Strings([text.upper() for text in texts.values.value]))
        return types.BatchResult(keep=bytes(keep), columns=[column], errors=[])

    def forget(self, table):
        pass
