"""Protocol rows: what the protocol promises, a testable line each, played over HTTP against anybody.

    row.py        a row, what it found, its verdict    sheet.py      a ladder's rungs and pairs, as rows
    doors.py      a subject's doors, one a role        look.py       that nothing changed: seen, or inferred
    stage.py      one pass: subject and scenes         playing/      one side played by us, the other alone
    ultravisor/   the rows of an Ultravisor            hypervisor/   the rows of a Hypervisor
    pair/         what both must agree on              catalogue.py  all rows, by subject and by id
    passes.py     sets a stage: by URL, or started     admission.py  what is asked before any row
    run.py        plays rows, a verdict each           waivers.py    failures that somebody answers for
    ledger.py     counts; does the subject hold?       report.py     the summary and JSON; junit.py the XML
    command.py    `pef rows`                           telling.py    progress while it runs

Rows know the words of the protocol (`pef_protocol`) and no service.
"""
