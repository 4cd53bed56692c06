# Makes test/golden/national-identifiers.json: random numbers with the verdict of python-stdnum 1.18 (Debian's python3-stdnum).
#
# Numbers that stdnum takes and that have an impossible date, or a first digit that is never given, are left out: it does not
# look at these for every kind, belay does.
#
#   python3 test/golden-scripts/national_identifiers.py > test/golden/national-identifiers.json
import importlib
import json
import random

KINDS = {
    "at-svnr": "at.vnr",
    "bg-egn": "bg.egn",
    "ch-ahv": "ch.ssn",
    "cz-rc": "cz.rc",
    "de-tax": "de.idnr",
    "ee-ik": "ee.ik",
    "es-dni": "es.dni",
    "fi-hetu": "fi.hetu",
    "fr-nir": "fr.nir",
    "gr-amka": "gr.amka",
    "hr-oib": "hr.oib",
    "ie-pps": "ie.pps",
    "it-fiscal-code": "it.codicefiscale",
    "lt-ak": "lt.asmens",
    "nl-bsn": "nl.bsn",
    "no-fnr": "no.fodselsnummer",
    "pl-pesel": "pl.pesel",
    "pt-nif": "pt.nif",
    "ro-cnp": "ro.cnp",
    "se-personal": "se.personnummer",
    "be-national": "be.nn",
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
rng = random.Random(28)


def digits(n):
    return "".join(rng.choice("0123456789") for _ in range(n))


def draw(kind):
    year, month, day = digits(2), f"{rng.randint(1, 12):02d}", f"{rng.randint(1, 28):02d}"
    forward, backward = year + month + day, day + month + year
    return {
        "at-svnr": lambda: rng.choice("123456789") + digits(3) + backward,
        "be-national": lambda: forward + digits(5),
        "bg-egn": lambda: year + f"{int(month) + rng.choice([0, 20, 40]):02d}" + day + digits(4),
        "ch-ahv": lambda: "756" + digits(10),
        "cz-rc": lambda: year + f"{int(month) + rng.choice([0, 50]):02d}" + day + digits(4),
        "de-tax": lambda: digits(11),
        "ee-ik": lambda: rng.choice("3456") + forward + digits(4),
        "es-dni": lambda: digits(8) + rng.choice(LETTERS),
        "fi-hetu": lambda: backward + rng.choice("-A+") + digits(3) + rng.choice("0123456789ABCDEFHJKLMNPRSTUVWXY"),
        "fr-nir": lambda: rng.choice("12") + year + month + digits(10),
        "gr-amka": lambda: backward + digits(5),
        "hr-oib": lambda: digits(11),
        "ie-pps": lambda: digits(7) + rng.choice(LETTERS[:23]) + rng.choice(["", "A", "B", "W"]),
        "it-fiscal-code": lambda: "".join(rng.choice("BCDFGLMNPRST") for _ in range(6))
        + year + rng.choice("ABCDEHLMPRST") + day + rng.choice("ABCDEFGHL") + digits(3) + rng.choice(LETTERS),
        "lt-ak": lambda: rng.choice("3456") + forward + digits(4),
        "nl-bsn": lambda: digits(9),
        "no-fnr": lambda: backward + digits(5),
        "pl-pesel": lambda: year + f"{int(month) + rng.choice([0, 20, 80]):02d}" + day + digits(5),
        "pt-nif": lambda: rng.choice("123") + digits(8),
        "ro-cnp": lambda: rng.choice("1256") + forward + f"{rng.randint(1, 46):02d}" + digits(4),
        "se-personal": lambda: forward + digits(4),
    }[kind]()


cases = []
for kind, module in KINDS.items():
    check = importlib.import_module("stdnum." + module)
    wanted = {True: 5, False: 5}
    while any(wanted.values()):
        text = draw(kind)
        valid = bool(check.is_valid(text[:6] + "-" + text[6:] if kind == "se-personal" else text))
        if wanted[valid] > 0:
            wanted[valid] -= 1
            cases.append([kind, text, valid])
rows = ",\n".join("  " + json.dumps(case) for case in cases)
print('{\n "format": "national-identifiers-v1",\n "cases": [\n' + rows + "\n ]\n}")
