// node-postgres, with its companions for COPY and cursors.

const { pipeline: flow } = require('stream/promises')
const { Readable } = require('stream')
const pg = require('pg')
const copyStreams = require('pg-copy-streams')
const Cursor = require('pg-cursor')
const {
  to, run, version, CONNECTIONS, TRANSACTIONS, COPIED, INTS, TEXTS, DOC, RAW, AMOUNT, AT,
  lockTimeout, until, isSleeping, sleeper, values,
} = require('./report')

const DRIVER = 'pg'

const connect = async (more) => {
  const client = new pg.Client({ ...to, ...more })
  await client.connect()
  return client
}

const first = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0]

const login = async () => first(await connect(), 'select current_user::text')

const worker = async (number, client) => {
  const done = { name: 'done', text: 'insert into done (driver, worker, n) values ($1, $2, $3)' }
  const more = { name: 'more', text: 'select $1::int + 1 as more' }
  let right = 0
  for (let n = 0; n < TRANSACTIONS; n++) {
    await client.query('begin')
    await client.query({ ...done, values: [DRIVER, number, n] })
    const { rows } = await client.query({ ...more, values: [n] })
    right += rows[0].more === n + 1
    await client.query('commit')
  }
  const kept = (await first(client, 'show lock_timeout')) === lockTimeout(number)
  await client.end()
  return [right, kept]
}

const prepared = async () => {
  const clients = await Promise.all(CONNECTIONS.map(async (number) => {
    const client = await connect()
    await client.query(`set lock_timeout = '${lockTimeout(number)}'`)
    return client
  }))
  const results = await Promise.all(CONNECTIONS.map((number, at) => worker(number, clients[at])))
  return results.reduce(([right, kept], result) => [right + result[0], kept + result[1]], [0, 0])
}

const copy = async () => {
  const client = await connect()
  const sink = client.query(copyStreams.from('copy copied (id, body) from stdin'))
  await flow(Readable.from([COPIED]), sink)
  const source = client.query(copyStreams.to('copy (select id, body from copied order by id) to stdout'))
  let out = ''
  for await (const chunk of source) out += chunk
  return out === COPIED
}

const errors = async () => {
  const client = await connect()
  const states = []
  const refused = (sql) => client.query(sql).catch((error) => states.push(error.code))
  await refused('insert into once values (1)')
  await refused('select 1 / 0')
  await client.query('begin')
  await refused('select * from missing')
  await refused('select 1')
  await client.query('rollback')
  return [...states, await first(client, 'select 1')]
}

const cancel = async () => {
  const [client, other] = [await connect(), await connect()]
  const query = new pg.Query(sleeper(DRIVER))
  const refused = new Promise((resolve) => query.on('error', resolve))
  client.query(query)
  await until(async () => (await first(other, isSleeping(DRIVER))) === 1)
  new pg.Client(to).cancel(client, query)
  const { code } = await refused
  return [code, await first(client, 'select 1')]
}

const notices = async () => {
  const client = await connect()
  const seen = []
  client.on('notice', (notice) => seen.push(notice.message))
  await client.query("do $$ begin raise notice 'seen'; end $$")
  return seen
}

const pipeline = async () => {
  const client = await connect({ pipeline: true })
  const query = { name: 'piped', text: 'select $1::int as n' }
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, n) => client.query({ ...query, values: [n] })),
  )
  return results.reduce((sum, { rows }) => sum + rows[0].n, 0)
}

const parts = async () => {
  const client = await connect()
  await client.query('begin')
  const cursor = client.query(new Cursor('select id from many order by id'))
  let count = 0
  for (;;) {
    const rows = await cursor.read(100)
    if (rows.length === 0) break
    count += rows.length
  }
  await cursor.close()
  await client.query('commit')
  return count
}

const listen = async () => {
  const [client, other] = [await connect(), await connect()]
  const heard = new Promise((resolve) => client.on('notification', resolve))
  await client.query('listen pgherd_pg')
  await other.query("notify pgherd_pg, 'heard'")
  return [(await heard).payload]
}

const types = async () => {
  const client = await connect()
  await client.query(
    'insert into kept (driver, ints, texts, doc, raw, amount, at) values ($1, $2, $3, $4, $5, $6, $7)',
    [DRIVER, INTS, TEXTS, DOC, RAW, AMOUNT, AT],
  )
  const row = 'select ints, texts, doc, raw, amount, at from kept where driver = $1'
  return values((await client.query(row, [DRIVER])).rows[0])
}

run(DRIVER, version(DRIVER), {
  login,
  prepared,
  copy,
  errors,
  cancel,
  notices,
  pipeline,
  parts,
  listen,
  types,
})
