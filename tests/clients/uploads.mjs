// Sends forms with a file of so many bytes, so many at a time, by Node's own fetch;
// says how often each status came, and how often none.
const [url, count, bytes, atOnce] = process.argv.slice(2);
const file = new Blob(["x".repeat(Number(bytes))]);
const answers = {};
let left = Number(count);

async function send() {
  while (left-- > 0) {
    const body = new FormData();
    body.append("pricing", file, "pricing.yml");
    let answer;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "x-api-key": "wrong" },
        body,
      });
      await response.text();
      answer = response.status;
    } catch (error) {
      answer = error.cause?.code ?? String(error);
    }
    answers[answer] = (answers[answer] ?? 0) + 1;
  }
}

await Promise.all(Array.from({ length: Number(atOnce) }, send));
console.log(JSON.stringify(answers));
