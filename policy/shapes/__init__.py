"""What the text of each field looks like to an editor, and in words.

Which field has which shape is said in `fields.py` and its siblings, by annotation; the schema that comes of
it is made in `json_schema.py`. INVARIANT: a shape never refuses what the field's own reader accepts, but for
the spellings that `tests/unit/test_policy_json_schema.py` lists.
"""
