// Writes zod_schemas.json: what zod makes of many types, each with values that fit and that do not.
//   npm install zod@4 && node zod_schemas.mjs > zod_schemas.json
import { z } from "zod";

const Category = z.object({
  name: z.string(),
  get children() {
    return z.array(Category);
  },
});
const Employee = z.object({
  name: z.string(),
  get boss() {
    return Employee.nullable();
  },
  get team() {
    return Team.optional();
  },
});
const Team = z.object({
  title: z.string(),
  get lead() {
    return Employee.optional();
  },
});
const Square = z.object({ kind: z.literal("square"), side: z.number() });
const Circle = z.object({ kind: z.literal("circle"), radius: z.number() });
const Person = z.object({ name: z.string() });

const cases = {
  object: [z.object({ a: z.string(), b: z.number().int() }), [{ a: "x", b: 1 }], [{ a: "x", b: 1, c: 2 }, { a: "x" }]],
  optional: [z.object({ a: z.string().optional(), b: z.string().nullable(), c: z.string().nullish(), d: z.string().default("d") }), [{ b: null, d: "x" }, { a: "x", b: "y", c: null, d: "x" }], [{ a: 1, b: null, d: "x" }]],
  strict: [z.strictObject({ a: z.string() }), [{ a: "x" }], [{ a: "x", z: 1 }]],
  loose: [z.looseObject({ a: z.string() }), [{ a: "x" }, { a: "x", z: 1 }], [{}]],
  catchall: [z.object({ a: z.string() }).catchall(z.number()), [{ a: "x", z: 1 }], [{ a: "x", z: "y" }]],
  email: [z.object({ a: z.email() }), [{ a: "a@example.com" }], [{ a: "no" }]],
  url: [z.object({ a: z.url() }), [{ a: "https://example.com/x" }], [{ a: 1 }]],
  uuid: [z.object({ a: z.uuid() }), [{ a: "123e4567-e89b-42d3-a456-426614174000" }], [{ a: "x" }]],
  datetime: [z.object({ a: z.iso.datetime(), b: z.iso.date(), c: z.iso.time() }), [{ a: "2024-01-31T10:20:30Z", b: "2024-01-31", c: "10:20:30" }], [{ a: "x", b: "2024-01-31", c: "10:20:30" }]],
  duration: [z.object({ a: z.iso.duration() }), [{ a: "P1D" }], []],
  ips: [z.object({ a: z.ipv4(), b: z.ipv6(), c: z.cidrv4() }), [{ a: "10.0.0.1", b: "::1", c: "10.0.0.0/8" }], [{ a: "x", b: "::1", c: "10.0.0.0/8" }]],
  ids: [z.object({ a: z.cuid(), b: z.cuid2(), c: z.nanoid(), d: z.ulid(), e: z.ksuid() }), [], []],
  encodings: [z.object({ a: z.base64(), b: z.base64url(), c: z.jwt(), d: z.e164(), e: z.emoji() }), [], []],
  strings: [z.object({ a: z.string().min(2).max(5), b: z.string().regex(/^[A-Z]{3}-\d{2}$/), c: z.string().startsWith("x"), d: z.string().endsWith("y"), e: z.string().includes("z") }), [{ a: "abc", b: "ABC-12", c: "xa", d: "ay", e: "aza" }], [{ a: "a", b: "ABC-12", c: "xa", d: "ay", e: "aza" }, { a: "abc", b: "abc", c: "xa", d: "ay", e: "aza" }]],
  lookahead: [z.object({ a: z.string().regex(/^(?=.*[0-9]).{3,}$/) }), [{ a: "ab1" }], [{ a: 5 }]],
  numbers: [z.object({ a: z.int(), b: z.int32(), c: z.number().positive(), d: z.number().min(0).max(1), e: z.number().multipleOf(5), f: z.float32() }), [{ a: 1, b: 2, c: 3, d: 0.5, e: 10, f: 1.5 }], [{ a: 1.5, b: 2, c: 3, d: 0.5, e: 10, f: 1.5 }, { a: 1, b: 2, c: 3, d: 2, e: 10, f: 1.5 }]],
  literals: [z.object({ a: z.literal("x"), b: z.literal([1, 2, "three"]), c: z.null(), d: z.boolean() }), [{ a: "x", b: 2, c: null, d: true }], [{ a: "y", b: 2, c: null, d: true }]],
  enums: [z.object({ a: z.enum(["red", "green"]), b: z.enum({ one: 1, two: 2 }) }), [{ a: "red", b: 1 }], [{ a: "blue", b: 1 }]],
  arrays: [z.object({ a: z.array(z.string()).min(1).max(2), b: z.array(z.number()).length(2), c: z.array(z.boolean()).nonempty() }), [{ a: ["x"], b: [1, 2], c: [true] }], [{ a: [], b: [1, 2], c: [true] }]],
  tuples: [z.object({ a: z.tuple([z.string(), z.number()]), b: z.tuple([z.string()]).rest(z.boolean()) }), [{ a: ["x", 1], b: ["x", true, false] }], [{ a: [1, 1], b: ["x"] }]],
  records: [z.object({ a: z.record(z.string(), z.number()), b: z.record(z.enum(["x", "y"]), z.string()), c: z.partialRecord(z.enum(["x", "y"]), z.string()) }), [{ a: { q: 1 }, b: { x: "1", y: "2" }, c: { x: "1" } }], [{ a: { q: "1" }, b: { x: "1", y: "2" }, c: {} }, { a: {}, b: { x: "1", y: "2" }, c: { z: "1" } }]],
  record_pattern: [z.record(z.string().regex(/^k[0-9]+$/), z.boolean()), [{ k1: true }], [{ k1: 1 }]],
  union: [z.object({ a: z.union([z.string(), z.number()]), b: z.union([Square, Circle]) }), [{ a: 1, b: { kind: "square", side: 2 } }], [{ a: true, b: { kind: "square", side: 2 } }, { a: 1, b: { kind: "square", radius: 2 } }, { a: 1, b: { kind: "square", side: 2, extra: 1 } }]],
  discriminated: [z.discriminatedUnion("kind", [Square, Circle]), [{ kind: "circle", radius: 1 }], [{ kind: "circle", side: 1 }]],
  intersection: [z.intersection(Person, z.object({ age: z.number() })), [{ name: "x", age: 1 }], [{ name: "x" }, { name: "x", age: 1, more: 2 }]],
  extended: [Person.extend({ age: z.number() }).partial({ age: true }), [{ name: "x" }, { name: "x", age: 1 }], [{ name: "x", more: 1 }]],
  recursive: [Category, [{ name: "a", children: [{ name: "b", children: [] }] }], [{ name: "a", children: [{ name: "b" }] }]],
  mutual: [Employee, [{ name: "a", boss: { name: "b", boss: null } }, { name: "a", boss: null, team: { title: "t" } }], [{ name: "a", boss: 1 }]],
  nested_optional: [z.object({ a: z.object({ b: z.object({ c: z.string() }).optional() }) }), [{ a: {} }, { a: { b: { c: "x" } } }], [{ a: { x: 1 } }]],
  reused: [z.object({ a: Person, b: Person, c: z.array(Person) }), [{ a: { name: "x" }, b: { name: "y" }, c: [{ name: "z" }] }], [{ a: { name: "x", q: 1 }, b: { name: "y" }, c: [] }]],
  any: [z.object({ a: z.any(), b: z.unknown(), c: z.never().optional() }), [{ a: 1, b: "x" }, { a: [{}], b: null }], [{ a: 1, b: 1, c: 1 }]],
  json: [z.object({ a: z.json() }), [{ a: [1, { x: null }] }], []],
  described: [z.object({ a: z.string().describe("the a").meta({ examples: ["x"], deprecated: true }) }).meta({ id: "Described", title: "D" }), [{ a: "x" }], [{ a: "x", b: 1 }]],
  readonly: [z.object({ a: z.string().readonly(), b: z.string().brand("B") }).readonly(), [{ a: "x", b: "y" }], [{ a: "x" }]],
  pipe: [z.object({ a: z.string().pipe(z.string().min(2)), b: z.preprocess((v) => v, z.number()) }), [{ a: "xy", b: 1 }], []],
  template: [z.object({ a: z.templateLiteral(["user-", z.number()]) }), [{ a: "user-12" }], [{ a: "x" }]],
  stringbool: [z.object({ a: z.stringbool() }), [], []],
  files: [z.object({ a: z.hex(), b: z.hostname(), c: z.mac() }), [], []],
};

const targets = ["draft-2020-12", "draft-7", "draft-4", "openapi-3.0"];
// What zod itself does not write in a form: nothing refuses the values that do not fit.
const unsaid = new Set(["tuples openapi-3.0", "records openapi-3.0", "records draft-4"]);
const written = {};
for (const [name, [type, fitting, unfitting]] of Object.entries(cases)) {
  for (const target of targets) {
    for (const io of ["output", "input"]) {
      const schema = z.toJSONSchema(type, { target, io, unrepresentable: "any" });
      written[`${name} ${target} ${io}`] = { schema, fitting, unfitting: unsaid.has(`${name} ${target}`) ? [] : unfitting };
    }
  }
}
const lines = Object.entries(written).map(([name, one]) => ` ${JSON.stringify(name)}: ${JSON.stringify(one)}`);
process.stdout.write(`{\n${lines.join(",\n")}\n}\n`);
