// What the scripts share: they say things as JSON lines, and end with the test
// that started them.

export function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

process.stdin.resume().on("end", () => process.exit());
