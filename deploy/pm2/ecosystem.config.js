// A node under pm2: pm2 start ecosystem.config.js && pm2 save
//
// MYCELIUM and MYCELIUM_CONFIG name the program and the settings, where they are elsewhere. `pm2 restart mycelium` drains
// first; `pm2 sendSignal SIGHUP mycelium` takes over what can change while it runs.
const home = require("os").homedir();

module.exports = {
  apps: [
    {
      name: "mycelium",
      script: process.env.MYCELIUM || `${home}/mycelium/.venv/bin/mycelium`,
      args: ["node", "run", "--config", process.env.MYCELIUM_CONFIG || `${home}/mycelium/node.toml`],
      interpreter: "none",
      // It drains on SIGINT and is gone within 10 s; pm2 would kill it after 1.6.
      kill_timeout: 15000,
      treekill: false,
      autorestart: true,
      // A wrong configuration is not mended by another start. pm2 then says "waiting restart", and does not.
      stop_exit_codes: [2],
      exp_backoff_restart_delay: 500,
      time: false,
      merge_logs: true,
    },
  ],
};
