'use strict';
// What an agent in another language needs: say what it is about to do, say what came of it, obey signed commands.
const crypto = require('node:crypto');
const { Kafka, logLevel } = require('kafkajs');

const now = () => new Date().toISOString().replace('Z', '000Z');

function uuid7() {
  const bytes = crypto.randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Whether one of the trusted keys (hex, 32 bytes each) signed exactly this command. */
function isGenuine(command, trusted) {
  const { signature = '', key_id: keyId, ...signed } = command;
  const key = trusted.find((hex) => sha256(Buffer.from(hex, 'hex')).startsWith(keyId));
  if (!key || keyId.length !== 16) return false;
  const text = JSON.stringify(signed, Object.keys(signed).sort());
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key, 'hex')]);
  const publicKey = crypto.createPublicKey({ key: spki, format: 'der', type: 'spki' });
  return crypto.verify(null, Buffer.from(text), publicKey, Buffer.from(signature, 'hex'));
}

const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');

class Denied extends Error {}

class Agent {
  /** `trusted`: public keys whose commands are obeyed. */
  constructor(agentId, { brokers, prefix = 'vaultak', trusted }) {
    this.agentId = agentId;
    this.sessionId = uuid7();
    this.instance = `node-${process.pid}-${crypto.randomBytes(4).toString('hex')}`;
    this.state = 'running';
    this.epoch = 0;
    this.topic = (name) => `${prefix}.${name}`;
    this.trusted = trusted;
    this.changed = [];
    const kafka = new Kafka({ brokers, clientId: this.instance, logLevel: logLevel.ERROR });
    this.producer = kafka.producer();
    this.consumer = kafka.consumer({ groupId: this.instance, maxWaitTimeInMs: 100 });
  }

  async start() {
    await this.producer.connect();
    await this.consumer.connect();
    // The last state of each agent, then what comes: one that was killed stays so when it starts again.
    await this.consumer.subscribe({ topics: [this.topic('agent-state'), this.topic('control')], fromBeginning: true });
    await this.consumer.run({
      eachMessage: async ({ topic, message }) => {
        if (message.value === null) return;
        const value = JSON.parse(message.value);
        if (topic === this.topic('control')) await this.obey(value);
        else if (this.isMine(value.agent_id)) this.follow(value.command);
      },
    });
  }

  async stop() {
    await this.consumer.disconnect();
    await this.producer.disconnect();
  }

  isMine(agentId) {
    return agentId === this.agentId || agentId === '*';
  }

  async obey(command) {
    if (!this.isMine(command.agent_id) || Date.parse(command.expires_at) < Date.now()) return;
    const result = !isGenuine(command, this.trusted) ? 'rejected' : this.follow(command) ? 'applied' : 'ignored';
    const answer = { command_id: command.command_id, agent_id: this.agentId, instance: this.instance, ts: now() };
    await this.send('acks', { ...answer, result });
  }

  /** Take over a state that a genuine command leads to, unless a newer one has been seen. */
  follow(command) {
    const state = { pause: 'paused', resume: 'running', kill: 'killed' }[command.command];
    if (!state || !isGenuine(command, this.trusted) || command.epoch <= this.epoch) return false;
    this.epoch = command.epoch;
    this.state = state;
    for (const wake of this.changed.splice(0)) wake();
    return true;
  }

  /** Record an action, wait while the agent is paused, do it, and record what came of it. */
  async act(actionType, resource, payload, run) {
    const actionId = uuid7();
    const action = { kind: 'action', action_id: actionId, action_type: actionType, resource, payload };
    await this.send('actions', { ...this.common(), ...action });
    while (this.state === 'paused') await new Promise((wake) => this.changed.push(wake));
    const outcome = { kind: 'outcome', action_id: actionId };
    if (this.state === 'killed') {
      await this.send('actions', { ...this.common(), ...outcome, status: 'denied', error: 'the agent is killed' });
      throw new Denied(`agent ${this.agentId} is killed`);
    }
    try {
      const result = await run();
      await this.send('actions', { ...this.common(), ...outcome, status: 'ok', content: String(result ?? '') });
      return result;
    } catch (error) {
      await this.send('actions', { ...this.common(), ...outcome, status: 'error', error: String(error) });
      throw error;
    }
  }

  common() {
    return { schema_version: 1, agent_id: this.agentId, instance: this.instance, session_id: this.sessionId, ts: now() };
  }

  async send(topic, value) {
    await this.producer.send({
      topic: this.topic(topic),
      messages: [{ key: this.agentId, value: JSON.stringify(value) }],
    });
  }
}

module.exports = { Agent, Denied };
