"""One prompt, three ways: called by script/demo, which tells what it shows."""

import argparse
import json
import subprocess
import sys
import textwrap

PROMPT = "Explain in two sentences why wolves hunt in packs."
WAYS = [
    ("one rank", ["--ranks", "1"]),
    ("two ranks, pipeline", ["--ranks", "2", "--parallel", "pp", "--backend", "ring"]),
    ("two ranks, tensor-parallel", ["--ranks", "2", "--parallel", "tp", "--backend", "ring"]),
]


def answer(args, options):
    done = subprocess.run([args.dhole, "generate", "--model", args.model, "--prompt", args.prompt,
                           "--max-tokens", str(args.max_tokens), "--json", *options],
                          stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"dhole generate {' '.join(options)} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def indented(text, mark="    "):
    lines = [textwrap.wrap(line, 84) or [""] for line in text.splitlines()]
    return "\n".join(mark + line for wrapped in lines for line in wrapped)


def table(answers):
    row = "{:<28}{:>10}{:>14}{:>16}{:>16}".format
    print(row("", "tokens", "tokens/s", "bytes sealed", "in the clear"))
    for (name, _), a in zip(WAYS, answers):
        print(row(name, a["generated"], f"{a['decode_tps']:.1f}", f"{a['sealed_bytes']:,}",
                  f"{a['plain_bytes']:,}"))
    print()


def verdicts(answers):
    """Each claim of the demo, and whether it held."""
    first, *split = answers
    equal = all(a["text"] == first["text"] and a["tokens"] == first["tokens"] for a in split)
    return [
        (first["generated"] > 0, "The model answered.", "The model said nothing."),
        (equal, "The three answers are equal.", "The three answers differ."),
        (all(a["sealed_bytes"] > 0 for a in split), "What crossed between ranks was sealed.",
         "Nothing crossed between ranks under seal."),
        (all(a["plain_bytes"] == 0 for a in answers), "Nothing was in the clear.",
         "Some bytes were in the clear."),
    ]


def main():
    parser = argparse.ArgumentParser(prog="script/demo")
    parser.add_argument("--dhole", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--model", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--max-tokens", type=int, default=128)
    args = parser.parse_args()

    print(f"\nPrompt\n{indented(args.prompt)}\n")
    answers = []
    for name, options in WAYS:
        answers.append(answer(args, options))
        print(f"{name[0].upper()}{name[1:]} ({answers[-1]['reason']})\n"
              f"{indented(answers[-1]['text'])}\n", flush=True)
    table(answers)
    held = True
    for good, yes, no in verdicts(answers):
        print(yes if good else f"FAILED: {no}")
        held = held and good
    return 0 if held else 1


sys.exit(main())
