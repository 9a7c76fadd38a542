// Replaces every match of a regular expression in a column of text by asterisks, one for each character.
//
// Configuration: {"column": "note", "pattern": "[0-9]{4}-[0-9]{4}"}. The pattern is a POSIX extended regular expression
// over bytes; a match that ends inside a character covers the whole character. NULL stays NULL. A table without the
// column is taken as it is; a column that is not text is an error.

#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "transform_module.h"

// The C library's own would print, and with that import WASI, which the host does not have. So would regerror().
_Noreturn void abort(void) { __builtin_trap(); }
_Noreturn void __assert_fail(const char *expression, const char *file, int line, const char *function) {
  (void)expression, (void)file, (void)line, (void)function;
  __builtin_trap();
}

typedef transform_module_string_t string_t;
typedef exports_tidegate_transform_transformer_plan_error_t plan_error_t;

// What is kept of a table.
typedef struct table {
  uint32_t number;
  regex_t pattern;
  struct table *next;
} table_t;

static table_t *tables;

static table_t *find(uint32_t number) {
  table_t *table = tables;
  while (table && table->number != number) table = table->next;
  return table;
}

static void forget(uint32_t number) {
  for (table_t **at = &tables; *at; at = &(*at)->next) {
    if ((*at)->number == number) {
      table_t *gone = *at;
      *at = gone->next;
      regfree(&gone->pattern);
      free(gone);
      return;
    }
  }
}

static bool refuse(plan_error_t *err, const char *path, const char *message) {
  err->config_path.is_some = path != NULL;
  if (path) transform_module_string_dup(&err->config_path.val, path);
  transform_module_string_dup(&err->message, message);
  return false;
}

// --- The configuration: an object of strings ---

typedef struct {
  const char *at, *end;
} reader_t;

static void skip_blanks(reader_t *in) {
  while (in->at < in->end && strchr(" \t\r\n", *in->at)) in->at++;
}

static bool take(reader_t *in, char wanted) {
  skip_blanks(in);
  if (in->at == in->end || *in->at != wanted) return false;
  in->at++;
  return true;
}

// A JSON string without \u escapes, as C text; NULL when it is none. The caller frees it.
static char *take_string(reader_t *in) {
  if (!take(in, '"')) return NULL;
  char *text = malloc((size_t)(in->end - in->at) + 1), *out = text;
  while (in->at < in->end && *in->at != '"') {
    char byte = *in->at++;
    if (byte == '\\') {
      static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
      const char *found = in->at < in->end && *in->at ? strchr(from, *in->at) : NULL;
      if (!found) break;
      in->at++;
      byte = to[found - from];
    }
    *out++ = byte;
  }
  *out = 0;
  if (in->at < in->end && *in->at == '"') {
    in->at++;
    return text;
  }
  free(text);
  return NULL;
}

static bool read_config(string_t *config, char **column, char **pattern, plan_error_t *err) {
  reader_t in = {(const char *)config->ptr, (const char *)config->ptr + config->len};
  if (!take(&in, '{')) return refuse(err, NULL, "the configuration is not an object");
  do {
    char *key = take_string(&in);
    char *value = key && take(&in, ':') ? take_string(&in) : NULL;
    char **place = !key ? NULL : !strcmp(key, "column") ? column : !strcmp(key, "pattern") ? pattern : NULL;
    if (!value || !place || *place) {
      refuse(err, key, value ? "this key is not known or stands twice; known are column, pattern" : "a text is wanted");
      free(key);
      free(value);
      return false;
    }
    *place = value;
    free(key);
  } while (take(&in, ','));
  if (!take(&in, '}')) return refuse(err, NULL, "the configuration is not one object");
  if (!*column || !**column) return refuse(err, "column", "the name of a column is wanted");
  if (!*pattern || !**pattern) return refuse(err, "pattern", "a regular expression is wanted");
  return true;
}

// --- The plan ---

static bool is_named(string_t *name, const char *text) {
  return name->len == strlen(text) && !memcmp(name->ptr, text, name->len);
}

static void plan_column(tidegate_transform_types_table_plan_t *plan, tidegate_transform_types_column_schema_t *column) {
  plan->outputs.len = 1;
  plan->outputs.ptr = calloc(1, sizeof *plan->outputs.ptr);
  transform_module_string_dup_n(&plan->outputs.ptr->name, (char *)column->name.ptr, column->name.len);
  // As long as before: an asterisk for each character. A text type holds no pointers.
  plan->outputs.ptr->sql_type = column->sql_type;
  plan->outputs.ptr->nullable = column->nullable;
  plan->outputs.ptr->source.tag = TIDEGATE_TRANSFORM_TYPES_COLUMN_SOURCE_COMPUTED;
  plan->rows.is_some = true;
  plan->rows.val.inputs.len = 1;
  plan->rows.val.inputs.ptr = calloc(1, sizeof(string_t));
  transform_module_string_dup_n(plan->rows.val.inputs.ptr, (char *)column->name.ptr, column->name.len);
  plan->rows.val.needs =
      TIDEGATE_TRANSFORM_TYPES_ROW_NEEDS_DETERMINISTIC | TIDEGATE_TRANSFORM_TYPES_ROW_NEEDS_PARTIAL_IMAGES;
  plan->rows.val.text = TIDEGATE_TRANSFORM_TYPES_TEXT_LAYOUT_BUFFERS;
}

static const char *pattern_fault(int code) {
  switch (code) {
    case REG_ECTYPE: return "the pattern names a character class that does not exist";
    case REG_EESCAPE: return "the pattern ends with a backslash";
    case REG_EBRACK: return "the pattern lacks a ]";
    case REG_EPAREN: return "the pattern lacks a parenthesis";
    case REG_EBRACE: return "the pattern lacks a }";
    case REG_BADBR: return "the pattern has something else than counts between { and }";
    case REG_ERANGE: return "the pattern has a range that ends before it begins";
    case REG_BADRPT: return "the pattern repeats nothing with ?, * or +";
    case REG_ESPACE: return "the pattern needs more memory than there is";
    default: return "the pattern is no POSIX extended regular expression";
  }
}

static bool plan_table(uint32_t number, exports_tidegate_transform_transformer_table_schema_t *schema, const char *name,
                       const char *pattern, exports_tidegate_transform_transformer_plan_outcome_t *ret, plan_error_t *err) {
  memset(ret, 0, sizeof *ret);
  ret->tag = TIDEGATE_TRANSFORM_TYPES_PLAN_OUTCOME_INCLUDE;
  tidegate_transform_types_column_schema_t *column = NULL;
  for (size_t i = 0; i < schema->columns.len; i++)
    if (is_named(&schema->columns.ptr[i].name, name)) column = &schema->columns.ptr[i];
  if (!column) return true;
  if (column->sql_type.tag != TIDEGATE_TRANSFORM_TYPES_SQL_TYPE_SCALAR ||
      column->sql_type.val.scalar.tag != TIDEGATE_TRANSFORM_TYPES_SCALAR_TYPE_TEXT)
    return refuse(err, "column", "the column is not text");
  table_t *table = calloc(1, sizeof *table);
  int code = regcomp(&table->pattern, pattern, REG_EXTENDED);
  if (code) {
    free(table);
    return refuse(err, "pattern", pattern_fault(code));
  }
  table->number = number;
  table->next = tables;
  tables = table;
  plan_column(&ret->val.include, column);
  return true;
}

// --- The rows ---

static bool inside_character(uint8_t byte) { return (byte & 0xc0) == 0x80; }

// Writes the text with its matches covered to `out`, which has room for `len` bytes; how many were written. `text` is
// ended by a zero byte, and may hold others: each piece between them is searched on its own.
static size_t redact(const regex_t *pattern, const char *text, size_t len, uint8_t *out) {
  size_t at = 0, written = 0;
  bool begins = true;
  regmatch_t match;
  while (at < len) {
    size_t piece = strlen(text + at), start = piece, end = piece;
    if (!regexec(pattern, text + at, 1, &match, begins ? 0 : REG_NOTBOL)) {
      start = (size_t)match.rm_so;
      end = (size_t)match.rm_eo;
      while (start > 0 && inside_character((uint8_t)text[at + start])) start--;
      while (end < piece && inside_character((uint8_t)text[at + end])) end++;
    }
    memcpy(out + written, text + at, start);
    written += start;
    for (size_t i = start; i < end; i++)
      if (!inside_character((uint8_t)text[at + i])) out[written++] = '*';
    at += end;
    begins = false;
    // An empty match, and the zero byte after a piece, are passed over as they are, with the rest of their character.
    if (start == end && at < len) {
      begins = text[at] == 0;
      do out[written++] = (uint8_t)text[at++];
      while (at < len && inside_character((uint8_t)text[at]));
    }
  }
  return written;
}

static void redact_column(const regex_t *pattern, uint32_t rows, tidegate_transform_types_column_t *from,
                          tidegate_transform_types_column_t *to) {
  // The bitmaps are moved: NULL stays NULL, what the log lacks stays as it is in the target.
  to->nulls = from->nulls;
  to->absent = from->absent;
  memset(&from->nulls, 0, sizeof from->nulls);
  memset(&from->absent, 0, sizeof from->absent);
  tidegate_transform_types_var_values_t *in = &from->values.val.utf8, *out = &to->values.val.utf8;
  to->values.tag = TIDEGATE_TRANSFORM_TYPES_VALUES_UTF8;
  out->offsets.len = rows + 1;
  out->offsets.ptr = malloc((rows + 1) * sizeof(uint32_t));
  out->data.ptr = malloc(in->data.len + 1);
  out->offsets.ptr[0] = 0;
  size_t written = 0, room = 0;
  char *text = NULL;
  for (uint32_t row = 0; row < rows; row++) {
    size_t len = in->offsets.ptr[row + 1] - in->offsets.ptr[row];
    if (len + 1 > room) text = realloc(text, room = (len + 1) * 2);
    memcpy(text, in->data.ptr + in->offsets.ptr[row], len);
    text[len] = 0;
    written += redact(pattern, text, len, out->data.ptr + written);
    out->offsets.ptr[row + 1] = (uint32_t)written;
  }
  out->data.len = written;
  free(text);
}

// --- The contract's functions. Arguments belong to them, results to the caller. ---

void exports_tidegate_transform_transformer_describe(exports_tidegate_transform_transformer_module_info_t *ret) {
  transform_module_string_dup(&ret->name, "redact");
  transform_module_string_dup(&ret->version, "1.0.0");
  ret->config_schema.is_some = false;
}

bool exports_tidegate_transform_transformer_plan(uint32_t number, exports_tidegate_transform_transformer_table_schema_t *schema,
                                                 string_t *config, exports_tidegate_transform_transformer_plan_outcome_t *ret,
                                                 plan_error_t *err) {
  char *column = NULL, *pattern = NULL;
  forget(number);
  bool fits = read_config(config, &column, &pattern, err) && plan_table(number, schema, column, pattern, ret, err);
  free(column);
  free(pattern);
  transform_module_string_free(config);
  exports_tidegate_transform_transformer_table_schema_free(schema);
  return fits;
}

bool exports_tidegate_transform_transformer_transform(uint32_t number, exports_tidegate_transform_transformer_batch_t *batch,
                                                      exports_tidegate_transform_transformer_batch_result_t *ret, string_t *err) {
  table_t *table = find(number);
  bool fits = table && batch->columns.len == 1 && batch->columns.ptr->values.tag == TIDEGATE_TRANSFORM_TYPES_VALUES_UTF8;
  memset(ret, 0, sizeof *ret);
  if (fits) {
    ret->columns.len = 1;
    ret->columns.ptr = calloc(1, sizeof *ret->columns.ptr);
    redact_column(&table->pattern, batch->rows, batch->columns.ptr, ret->columns.ptr);
  } else {
    transform_module_string_dup(err, "the batch is not of the plan's form");
  }
  exports_tidegate_transform_transformer_batch_free(batch);
  return fits;
}

void exports_tidegate_transform_transformer_forget(uint32_t number) { forget(number); }
