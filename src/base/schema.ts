// What is wrong with a value that a schema refused, in words for the one who wrote it.
//
// Does not: check; zod does.
import type { z } from 'zod';
import { closest } from './errors.ts';

/**
 * The problems, one a line, set in to stand under `found:` of a UserError. With the schema, unknown keys come with the valid
 * ones.
 */
export function schemaProblems(error: z.core.$ZodError, schema?: z.core.$ZodType): string {
  return error.issues.flatMap((issue) => describeIssue(issue, schema)).join('\n            ');
}

function describeIssue(issue: z.core.$ZodIssue, schema: z.core.$ZodType | undefined): string[] {
  const at = issue.path.join('.');
  if (issue.code !== 'unrecognized_keys') return [at === '' ? issue.message : `${at}: ${issue.message}`];
  const known = schema ? keysAt(schema, issue.path) : [];
  return issue.keys.map((key) => {
    const near = closest(key, known);
    const valid =
      known.length === 0 ? '' : `${near ? `; did you mean "${near}"?` : ';'} valid keys: ${known.join(', ')}`;
    return `unknown key "${key}"${at === '' ? '' : ` in ${at}`}${valid}`;
  });
}

/** The keys of the object schema at a path, looking through defaults, nullables and unions. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  const definition = (schema as unknown as { readonly _zod: { readonly def: Record<string, unknown> } })._zod.def;
  if (definition['type'] === 'object') {
    const shape = definition['shape'] as Record<string, z.core.$ZodType>;
    const [key, ...rest] = path;
    if (key === undefined) return Object.keys(shape);
    const child = shape[String(key)];
    return child ? keysAt(child, rest) : [];
  }
  if (definition['type'] === 'union') {
    return [...new Set((definition['options'] as z.core.$ZodType[]).flatMap((option) => keysAt(option, path)))];
  }
  if (definition['type'] === 'array') return keysAt(definition['element'] as z.core.$ZodType, path.slice(1));
  if (definition['type'] === 'record') return keysAt(definition['valueType'] as z.core.$ZodType, path.slice(1));
  const inner = definition['innerType'];
  return inner ? keysAt(inner as z.core.$ZodType, path) : [];
}
