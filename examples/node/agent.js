'use strict';
// An agent in Node.js on Kafka: `npm install`, then `node agent.js`, on a machine where `vaultak up` runs.
// Try `vaultak pause node-agent`, `vaultak resume node-agent`, `vaultak kill node-agent` meanwhile.
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Agent, Denied } = require('./vaultak');

const share = process.env.XDG_DATA_HOME ?? path.join(os.homedir(), '.local', 'share');
const data = process.env.VAULTAK_DATA_DIR ?? path.join(share, 'vaultak');
const keys = path.join(data, 'keys', 'trusted');

async function main() {
  const agent = new Agent('node-agent', {
    brokers: (process.env.VAULTAK_BOOTSTRAP_SERVERS ?? '127.0.0.1:9092').split(','),
    prefix: process.env.VAULTAK_TOPIC_PREFIX ?? 'vaultak',
    trusted: fs.readdirSync(keys).map((name) => fs.readFileSync(path.join(keys, name), 'utf8').trim()),
  });
  await agent.start();
  try {
    for (let n = 1; ; n++) {
      const file = path.join(os.tmpdir(), `report-${n}.txt`);
      await agent.act('tool_call', 'tool:write_report', { file }, () => `report ${n} is written`);
      console.log(`report ${n}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  } catch (error) {
    if (!(error instanceof Denied)) throw error;
    console.log(error.message);
    process.exitCode = 3;
  } finally {
    await agent.stop();
  }
}

main();
