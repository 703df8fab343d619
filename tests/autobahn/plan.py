#!/usr/bin/env python3
"""Write the plan of a run: spec.json for wstest, planned.json for summary.py.

usage: plan.py URL OUTDIR [CASE...]        (the environment variable EXCLUDE skips cases)

planned.json lists all cases that match, so that summary.py can count a case
without a result as failed.
"""

import json
import os
import pathlib
import sys

from autobahntestsuite import case, caseset


def main():
    url, outdir, wanted = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:] or ["*"]
    spec = {"outdir": str(outdir), "servers": [{"agent": "server", "url": url}],
            "cases": wanted, "exclude-cases": os.environ.get("EXCLUDE", "").split(),
            "exclude-agent-cases": {}}
    cases = caseset.CaseSet(case.CaseSetname, case.CaseBasename, case.Cases,
                            case.CaseCategories, case.CaseSubCategories)
    barren = [w for w in wanted
              if not any(c in cases.CasesById for c in cases.resolveCasePatternList([w]))]
    if barren:
        sys.exit("autobahn: no such case: " + " ".join(barren))
    planned = cases.parseSpecCases(spec)
    if not planned:
        sys.exit("autobahn: no case left to run")
    (outdir / "spec.json").write_text(json.dumps(spec, indent=1))
    (outdir / "planned.json").write_text(json.dumps(planned))


if __name__ == "__main__":
    main()
