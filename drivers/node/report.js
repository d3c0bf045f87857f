// What the programs here share. As report.py: a program prints one JSON object a line, first the
// driver's name and version, then what came of each operation.

const fs = require('fs')

const lock = require('./package-lock.json')

const env = process.env
exports.to = {
  host: env.PGHOST,
  port: Number(env.PGPORT),
  user: env.PGUSER,
  password: env.PGPASSWORD,
  database: env.PGDATABASE,
  ssl: { ca: fs.readFileSync(env.PGSSLROOTCERT), servername: env.PGHOST },
}

exports.CONNECTIONS = Array.from({ length: 20 }, (_, at) => at + 1)
exports.TRANSACTIONS = 50
exports.COPIED = Array.from({ length: 1000 }, (_, at) => `${at + 1}\trow ${at + 1}\n`).join('')

exports.INTS = [1, null, 3]
exports.TEXTS = ['a', 'b,c', '"q\\', '', null, 'ü']
exports.DOC = { a: [1, 2, { b: null }], s: 'ü"\\' }
exports.RAW = Buffer.from([0, 255, 39, 92, 10])
exports.AMOUNT = '12345678901.000123400'
exports.AT = new Date('2026-02-03T04:05:06.789Z')

// The version of a package: what is installed is what is locked.
exports.version = (name) => lock.packages[`node_modules/${name}`].version

const say = (line) => console.log(JSON.stringify(line))

// Carries the operations out: each is an async function, or the reason why there is none. `but` holds
// what a driver does otherwise in a part of one.
exports.run = async (driver, version, operations, but = {}) => {
  say({ driver, version })
  for (const [op, operation] of Object.entries(operations)) {
    if (typeof operation === 'string') {
      say({ op, none: operation })
      continue
    }
    try {
      say({ op, got: await operation(), but: but[op] })
    } catch (error) {
      say({ op, failed: String(error) })
    }
  }
  // Connections that are still open would keep the process.
  process.exit(0)
}

exports.lockTimeout = (number) => `${60000 + number}ms`

// Asks again and again, for as long as the statement to cancel could run by itself.
exports.until = async (isSo) => {
  for (let tries = 0; tries < 1000; tries++) {
    if (await isSo()) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('did not happen in 20 s')
}

exports.isSleeping = (driver) =>
  "select count(*)::int from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() " +
  `and query like '%sleeper of ${driver}%'`
exports.sleeper = (driver) => `select pg_sleep(60) /* sleeper of ${driver} */`

exports.values = ({ ints, texts, doc, raw, amount, at }) => ({
  array: [ints, texts],
  json: doc,
  bytea: raw.toString('hex'),
  numeric: amount,
  timestamptz: at.getTime(),
})
