// @polkadot/api as its users write it: node SCRIPT SCENARIO URL ARGUMENTS, the last line it prints is JSON.
'use strict';

const { ApiPromise, Keyring, WsProvider } = require('@polkadot/api');

const RECONNECT_MS = 100;

async function connected(url) {
  return ApiPromise.create({ provider: new WsProvider(url, RECONNECT_MS), noInitWarn: true });
}

function pair(path) {
  return new Keyring({ type: 'sr25519' }).addFromUri(path);
}

// Resolves with what happened once the extrinsic is final; every status that was seen on the way is kept.
function submitted(extrinsic, signer, options = {}) {
  const statuses = [];
  return new Promise((resolve, reject) => {
    extrinsic
      .signAndSend(signer, options, (result) => {
        statuses.push(result.status.type);
        if (result.isError) {
          reject(new Error(result.status.type));
        } else if (result.status.isFinalized) {
          resolve({ result, statuses });
        }
      })
      .catch(reject);
  });
}

function outcome(api, { result, statuses }) {
  let error = null;
  if (result.dispatchError) {
    const failed = result.dispatchError;
    error = failed.isModule ? api.registry.findMetaError(failed.asModule).name : failed.toJSON();
  }
  const fees = result.events.filter(({ event }) => api.events.transactionPayment.TransactionFeePaid.is(event));
  return {
    statuses,
    error,
    fee: fees[0].event.data.actualFee.toNumber(),
    events: result.events.map(({ event }) => `${event.section}.${event.method}`),
    block: result.status.asFinalized.toHex(),
  };
}

async function reads(api, { account, netuid }) {
  const keys = await api.query.subtensorModule.keys.entries(netuid);
  const metagraph = (await api.call.subnetInfoRuntimeApi.getMetagraph(netuid)).unwrap();
  const lite = await api.call.neuronInfoRuntimeApi.getNeuronsLite(netuid);
  const { block } = await api.rpc.chain.getBlock();
  const both = await api.query.system.account.multi([account, account]);
  const permits = await api.query.subtensorModule.validatorPermit(netuid);
  return {
    chain: (await api.rpc.system.chain()).toString(),
    spec_version: api.runtimeVersion.specVersion.toNumber(),
    metadata: api.runtimeMetadata.version,
    token: [api.registry.chainTokens[0], api.registry.chainDecimals[0], api.registry.chainSS58],
    genesis: api.genesisHash.toHex(),
    free: both.map(({ data }) => data.free.toNumber()),
    nonce: (await api.rpc.system.accountNextIndex(account)).toNumber(),
    deposit: api.consts.balances.existentialDeposit.toNumber(),
    keys: keys.map(([key, hotkey]) => [key.args[1].toNumber(), hotkey.toString()]),
    permits: permits.toJSON(),
    metagraph: [metagraph.netuid.toJSON(), metagraph.hotkeys.toJSON(), metagraph.block.toJSON()],
    lite: lite.map((one) => [one.uid.toJSON(), one.hotkey.toString(), one.validatorPermit.isTrue]),
    number: block.header.number.toNumber(),
    calls: block.extrinsics.map(({ method }) => `${method.section}.${method.method}`),
  };
}

async function moves(api, { signer, to, rao }) {
  const keys = pair(signer);
  const transfer = () => api.tx.balances.transferKeepAlive(to, rao);
  const told = (await transfer().paymentInfo(keys)).partialFee.toNumber();
  const mortal = outcome(api, await submitted(transfer(), keys));
  const immortal = outcome(api, await submitted(transfer(), keys, { era: 0 }));
  return { told, mortal, immortal };
}

async function fails(api, { signer, to, rao, netuid }) {
  const keys = pair(signer);
  const module = outcome(api, await submitted(api.tx.subtensorModule.addStake(to, netuid, 1000000000), keys));
  const token = outcome(api, await submitted(api.tx.balances.transferKeepAlive(to, BigInt(rao)), keys));
  let stale = null;
  try {
    await submitted(api.tx.balances.transferKeepAlive(to, 1), keys, { nonce: 0 });
  } catch (error) {
    stale = error.message;
  }
  return { module, token, stale };
}

async function watches(api, { signer, to, rao }) {
  const heads = await new Promise((resolve, reject) => {
    const seen = [];
    api.rpc.chain
      .subscribeNewHeads((header) => {
        if (seen.push(header.number.toNumber()) === 4) {
          resolve([...seen]);
        }
      })
      .catch(reject);
  });
  const frees = [];
  let settled;
  const changed = new Promise((resolve) => {
    settled = resolve;
  });
  await api.query.system.account(to, ({ data }) => {
    if (frees.push(data.free.toNumber()) === 2) {
      settled();
    }
  });
  const sent = outcome(api, await submitted(api.tx.balances.transferKeepAlive(to, rao), pair(signer)));
  await changed;
  return { heads, frees, statuses: sent.statuses };
}

async function returns(api, { url, account }) {
  const operator = new WsProvider(`${url}/dev`);
  await operator.isReady;
  const before = (await api.query.system.account(account)).toHex();
  const connectedAgain = new Promise((resolve) => api.once('connected', resolve));
  const dropped = await operator.send('dev_dropConnections', []);
  await connectedAgain;
  const after = (await api.query.system.account(account)).toHex();
  await operator.disconnect();
  return { dropped, same: before === after };
}

// A runtime upgrade between two transfers; after one it has no runtime APIs, for it takes metadata V14 then.
async function outlives(api, { url, signer, to, rao }) {
  const operator = new WsProvider(`${url}/dev`);
  await operator.isReady;
  const before = outcome(api, await submitted(api.tx.balances.transferKeepAlive(to, rao), pair(signer)));
  const upgraded = new Promise((resolve) => {
    api.rpc.state.subscribeRuntimeVersion(({ specVersion }) => {
      if (specVersion.toNumber() === 425) {
        resolve();
      }
    });
  });
  await operator.send('dev_upgrade', [null, true, true]);
  await upgraded;
  while (api.runtimeVersion.specVersion.toNumber() !== 425) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const after = outcome(api, await submitted(api.tx.balances.transferKeepAlive(to, rao), pair(signer)));
  return { errors: [before.error, after.error], version: api.runtimeVersion.specVersion.toNumber() };
}

async function main() {
  const [scenario, url, parameters] = process.argv.slice(2);
  const api = await connected(url);
  const found = await { reads, moves, fails, watches, returns, outlives }[scenario](api, { url, ...JSON.parse(parameters) });
  await api.disconnect();
  // Its timers would keep the process for some seconds more.
  process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
