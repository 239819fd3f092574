"""HPACK as the library hpack has it: lists of fields to blocks, and blocks to lists of fields, one connection each way.

Reads from standard input and prints JSON: {"encode": [[size of the table or null, [[name, value], …]], …], "decode": [block, …]}. Blocks are in hexadecimal, and
what is decoded may change the table's size up to 4096."""

import json
import sys

import hpack

asked = json.load(sys.stdin)
encoder, decoder = hpack.Encoder(), hpack.Decoder()
blocks = []
for nth, (size, fields) in enumerate(asked["encode"]):
    if size is not None:
        encoder.header_table_size = size
    blocks.append(encoder.encode([tuple(field) for field in fields], huffman=nth % 3 != 0).hex())
read = [[list(map(str, field)) for field in decoder.decode(bytes.fromhex(block))] for block in asked["decode"]]
print(json.dumps({"blocks": blocks, "read": read}))
