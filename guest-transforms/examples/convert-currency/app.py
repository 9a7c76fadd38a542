"""Adds a column with an amount converted into one currency.

Configuration: {"amount": "amount", "currency": "currency", "into": "amount_eur", "rates": {"EUR": "1", "USD": "0.92"}}.
`rates` says what one unit of each currency is worth in the wanted one. Amounts are decimals; the result is rounded to
`digits` (2) digits, half to even. NULL in either column gives NULL; a currency without a rate rejects the row with the
code "no-rate". Tables without the two columns are taken as they are.
"""

import json
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import transformer
from wit_world.imports import types

KEYS = {"amount", "currency", "into", "rates", "digits"}

# What is kept of each table, by its number.
tables = {}


class Table:
    def __init__(self, config):
        self.rates = {code: Decimal(rate) for code, rate in config["rates"].items()}
        self.quantum = Decimal(1).scaleb(-config.get("digits", 2))

    def convert(self, amount, currency):
        rate = self.rates.get(currency)
        if rate is None:
            raise KeyError(currency)
        return str((Decimal(amount) * rate).quantize(self.quantum, rounding=ROUND_HALF_EVEN))


def bit(bitmap, row):
    return bool(bitmap) and bitmap[row // 8] >> (row % 8) & 1 == 1


def set_bit(bitmap, row):
    bitmap[row // 8] |= 1 << (row % 8)


def refuse(message, path=None):
    raise Err(types.PlanError(config_path=path, message=message))


def read_config(text):
    try:
        config = json.loads(text)
    except ValueError:
        refuse("the configuration is not JSON")
    if not isinstance(config, dict):
        refuse("the configuration is not an object")
    for key in config:
        if key not in KEYS:
            refuse(f"this key is not known; known are {', '.join(sorted(KEYS))}", key)
    for key in ("amount", "currency", "into"):
        if not isinstance(config.get(key), str):
            refuse("the name of a column is wanted", key)
    if not isinstance(config.get("digits", 2), int) or not 0 <= config.get("digits", 2) <= 12:
        refuse("a count from 0 to 12 is wanted", "digits")
    rates = config.get("rates")
    if not isinstance(rates, dict) or not rates:
        refuse("an object with a rate for each currency is wanted", "rates")
    for code, rate in rates.items():
        try:
            fits = isinstance(rate, str) and Decimal(rate).is_finite()
        except InvalidOperation:
            fits = False
        if not fits:
            refuse("a decimal number as text is wanted", f"rates.{code}")
    return config


class Transformer(exports.Transformer):
    def describe(self):
        return transformer.ModuleInfo(name="convert-currency", version="1.0.0", config_schema=None)

    def plan(self, table, schema, config):
        config = read_config(config)
        columns = {column.name for column in schema.columns}
        plan = types.TablePlan(
            target_namespace=None, target_name=None, renames=[], drops=[], outputs=[], primary_key=None, rows=None, notes=[], hints=[]
        )
        if {config["amount"], config["currency"]} <= columns:
            digits = types.DecimalType(precision=None, scale=config.get("digits", 2))
            decimal = types.SqlType_Scalar(types.ScalarType_Decimal(digits))
            plan.outputs = [types.OutputColumn(config["into"], decimal, True, types.ColumnSource_Computed())]
            plan.rows = types.RowPlan(
                inputs=[config["amount"], config["currency"]],
                needs=types.RowNeeds.DETERMINISTIC | types.RowNeeds.PARTIAL_IMAGES,
                text=types.TextLayout.STRINGS,
            )
            tables[table] = Table(config)
        return types.PlanOutcome_Include(plan)

    def transform(self, table, batch):
        work = tables[table]
        amounts, currencies = batch.columns
        nulls, absent = bytearray((batch.rows + 7) // 8), bytearray((batch.rows + 7) // 8)
        values, errors = [], []
        for row in range(batch.rows):
            value = ""
            if bit(amounts.absent, row) or bit(currencies.absent, row):
                # The log lacks a value that did not change: the column stays as it is in the target.
                set_bit(absent, row)
            elif bit(amounts.nulls, row) or bit(currencies.nulls, row):
                set_bit(nulls, row)
            else:
                try:
                    value = work.convert(amounts.values.value[row], currencies.values.value[row])
                except KeyError:
                    set_bit(nulls, row)
                    errors.append(types.RowError(row, "no-rate", "the configuration has no rate for the row's currency"))
                except InvalidOperation:
                    set_bit(nulls, row)
                    errors.append(types.RowError(row, "no-amount", "the amount is no number that can be converted"))
            values.append(value)
        column = types.Column(bytes(nulls), bytes(absent), types.Values_Strings(values))
        return types.BatchResult(keep=b"", columns=[column], errors=errors)

    def forget(self, table):
        tables.pop(table, None)
