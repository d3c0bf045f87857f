/*
 * What the Rust half calls. Nothing here lets a PostgreSQL error (a longjmp) cross Rust frames.
 *
 * Texts and trees may be used on any thread, one at a time, and dropped on another: a tree lives
 * in a memory context of its own, without a parent.
 */
#ifndef PGHERD_PARSER_H
#define PGHERD_PARSER_H

#include "postgres.h"
#include "nodes/nodeFuncs.h"

typedef struct
{
	/* Owns everything below; NULL on error. */
	MemoryContext memory;
	/* List of RawStmt; NULL when the text holds no statement. */
	List	   *statements;
	/* NULL, or why the text was refused: from malloc, to be freed with free(). */
	char	   *error;
} PgherdParsed;

extern PgherdParsed pgherd_parser_parse(const char *sql);
extern void pgherd_parser_free(MemoryContext memory);

/*
 * Calls `visit` for each child of `node`, NULL ones too, until it returns true.
 * False if PostgreSQL cannot walk that kind of node.
 */
extern bool pgherd_parser_children(Node *node, tree_walker_callback visit, void *context);

#endif
