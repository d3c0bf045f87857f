#include "parser.h"

#include <pthread.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/memutils.h"

const char *progname = "pgherd";

/* As BSD's: copies what fits, always ends it, returns the length of what was to be copied. */
size_t
strlcpy(char *to, const char *from, size_t size)
{
	size_t		length = strlen(from);

	if (size > 0)
	{
		size_t		fits = length < size ? length : size - 1;

		memcpy(to, from, fits);
		to[fits] = '\0';
	}
	return length;
}

/*
 * Where PostgreSQL calls a conversion between encodings. There is none here, because text is UTF-8
 * on both sides: a compiler that optimises sees it and drops the call, and one that does not leaves
 * it to the linker.
 */
Datum
FunctionCall6Coll(FmgrInfo *function, Oid collation, Datum arg1, Datum arg2, Datum arg3, Datum arg4,
				  Datum arg5, Datum arg6)
{
	elog(ERROR, "there is no conversion between encodings here");
	return (Datum) 0;
}

static __thread bool is_initialized = false;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_exit;

/* The same steps as libpg_query's pg_query_free_top_memory_context. */
static void
free_thread(void *top)
{
	MemoryContext context = top;

	MemoryContextDeleteChildren(context);
	AllocSetDeleteFreeList();
	context->methods->delete_context(context);
	free(context);
	TopMemoryContext = NULL;
	CurrentMemoryContext = NULL;
	ErrorContext = NULL;
	is_initialized = false;
}

/* One key for the process: there are but 1024 of them, and threads come and go. */
static void
create_key(void)
{
	pthread_key_create(&thread_exit, free_thread);
}

static void
initialize_thread(void)
{
	if (is_initialized)
		return;
	is_initialized = true;
	MemoryContextInit();
	SetDatabaseEncoding(PG_UTF8);
	/* A text with backslashes is no reason to write to the program's stderr. */
	escape_string_warning = false;
	pthread_once(&once, create_key);
	pthread_setspecific(thread_exit, TopMemoryContext);
}

PgherdParsed
pgherd_parser_parse(const char *sql)
{
	PgherdParsed result = {0};
	MemoryContext memory;
	MemoryContext before;
	/* Changed between setjmp and longjmp, read after it. */
	List	   *volatile statements = NULL;
	char	   *volatile error = NULL;

	initialize_thread();
	/* Without a parent, so that it survives this thread. */
	memory = AllocSetContextCreateInternal(NULL, "pgherd", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(memory);

	PG_TRY();
	{
		statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(memory);
		data = CopyErrorData();
		error = strdup(data->message ? data->message : "the parser gave no reason");
		FlushErrorState();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(before);
	if (error)
		MemoryContextDelete(memory);
	else
		result.memory = memory;
	result.statements = statements;
	result.error = error;
	return result;
}

void
pgherd_parser_free(MemoryContext memory)
{
	initialize_thread();
	MemoryContextDelete(memory);
}

bool
pgherd_parser_children(Node *node, tree_walker_callback visit, void *context)
{
	volatile bool walked = true;
	MemoryContext before;

	initialize_thread();
	before = CurrentMemoryContext;
	PG_TRY();
	{
		raw_expression_tree_walker_impl(node, visit, context);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(before);
		FlushErrorState();
		walked = false;
	}
	PG_END_TRY();
	return walked;
}
