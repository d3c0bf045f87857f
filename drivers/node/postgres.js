// postgres, also called Postgres.js: it prepares, keeps and pipelines statements by itself.

const postgres = require('postgres')
const { Readable } = require('stream')
const { pipeline: flow } = require('stream/promises')
const {
  to, run, version, CONNECTIONS, TRANSACTIONS, COPIED, INTS, TEXTS, DOC, RAW, AMOUNT, AT,
  lockTimeout, until, isSleeping, sleeper, values,
} = require('./report')

const DRIVER = 'postgres'

const seen = []
const connect = (max) => postgres({ ...to, max, onnotice: (notice) => seen.push(notice.message) })
const sql = connect(CONNECTIONS.length)

const login = async () => (await sql`select current_user::text as name`)[0].name

const worker = async (number, one) => {
  let right = 0
  for (let n = 0; n < TRANSACTIONS; n++) {
    await one`begin`
    await one`insert into done (driver, worker, n) values (${DRIVER}, ${number}, ${n})`
    const [{ more }] = await one`select ${n}::int + 1 as more`
    right += more === n + 1
    await one`commit`
  }
  const [row] = await one`show lock_timeout`
  one.release()
  return [right, row.lock_timeout === lockTimeout(number)]
}

const prepared = async () => {
  const reserved = await Promise.all(CONNECTIONS.map(async (number) => {
    const one = await sql.reserve()
    await one.unsafe(`set lock_timeout = '${lockTimeout(number)}'`)
    return one
  }))
  const results = await Promise.all(CONNECTIONS.map((number, at) => worker(number, reserved[at])))
  return results.reduce(([right, kept], result) => [right + result[0], kept + result[1]], [0, 0])
}

const copy = async () => {
  await flow(Readable.from([COPIED]), await sql`copy copied (id, body) from stdin`.writable())
  const source = await sql`copy (select id, body from copied order by id) to stdout`.readable()
  let out = ''
  for await (const chunk of source) out += chunk
  return out === COPIED
}

const errors = async () => {
  const states = []
  const refused = (query) => query.catch((error) => states.push(error.code))
  await refused(sql`insert into once values (1)`)
  await refused(sql`select 1 / 0`)
  const one = await sql.reserve()
  await one`begin`
  await refused(one`select * from missing`)
  await refused(one`select 1`)
  await one`rollback`
  const [{ alive }] = await one`select 1 as alive`
  one.release()
  return [...states, alive]
}

const cancel = async () => {
  const query = sql.unsafe(sleeper(DRIVER))
  const refused = query.catch((error) => error.code)
  await until(async () => (await sql.unsafe(isSleeping(DRIVER)))[0].count === 1)
  query.cancel()
  return [await refused, (await sql`select 1 as alive`)[0].alive]
}

const notices = async () => {
  seen.length = 0
  await sql.unsafe("do $$ begin raise notice 'seen'; end $$")
  return [...seen]
}

const pipeline = async () => {
  // One connection, so that the hundred queries are one behind the other on it.
  const one = connect(1)
  const rows = await Promise.all(Array.from({ length: 100 }, (_, n) => one`select ${n}::int as n`))
  await one.end()
  return rows.reduce((sum, [{ n }]) => sum + n, 0)
}

const parts = async () => {
  let count = 0
  await sql`select id from many order by id`.cursor(100, (rows) => { count += rows.length })
  return count
}

const listen = async () => {
  const heard = []
  await sql.listen('pgherd_postgres', (payload) => heard.push(payload))
  await sql.notify('pgherd_postgres', 'heard')
  await until(() => heard.length > 0)
  return heard
}

const types = async () => {
  await sql`
    insert into kept (driver, ints, texts, doc, raw, amount, at)
    values (${DRIVER}, ${INTS}, ${TEXTS}, ${sql.json(DOC)}, ${RAW}, ${AMOUNT}, ${AT})`
  const [row] = await sql`
    select ints, texts, doc, raw, amount, at from kept where driver = ${DRIVER}`
  const texts = row.texts.map((text) => (text === 'NULL' ? null : text))
  return values({ ...row, texts })
}

run(DRIVER, version('postgres'), {
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
}, { types: { '/array': "it reads NULL in an array of texts as the word 'NULL', as from PostgreSQL itself" } })
