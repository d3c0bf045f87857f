//! Looks at one parsed statement.
//!
//! Trees may be as deep as texts are long, so they are walked with a stack of our own.

use pgherd_parser::enums::{OnCommitAction, TransactionStmtKind, VariableSetKind};
use pgherd_parser::{Node, NodeList, nodes};

use super::{Classifier, QueryType, Remains, StateKind, TransactionControl, functions, meaning};

/// What one statement of a text is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding {
    pub(super) query_type: QueryType,
    pub(super) may_run_on_replica: bool,
    pub(super) transaction: Option<TransactionControl>,
    pub(super) leaves_state: Option<StateKind>,
    pub(super) alters_meaning: bool,
    // It runs nothing whose doings the text does not tell.
    is_plain: bool,
}

impl Finding {
    const READ: Self = Self {
        query_type: QueryType::Read,
        may_run_on_replica: true,
        transaction: None,
        leaves_state: None,
        alters_meaning: false,
        is_plain: true,
    };

    const WRITE: Self =
        Self { query_type: QueryType::Write, may_run_on_replica: false, ..Self::READ };

    const DDL: Self = Self { query_type: QueryType::Ddl, ..Self::WRITE };

    // Indexes, constraints and the like call functions over what is there.
    const OBSCURE_DDL: Self = Self { is_plain: false, ..Self::DDL };

    fn leaving(self, state: StateKind) -> Self {
        // The worst of them decides what becomes of the session.
        let worst = match self.leaves_state {
            Some(other) if other.remains() >= state.remains() => other,
            _ => state,
        };
        Self { leaves_state: Some(worst), ..self }
    }

    /// What is created from a query whose functions do what they do.
    fn with_doings_of(self, query: Self) -> Self {
        let Self { alters_meaning, is_plain, .. } = query;
        let created = Self { alters_meaning, is_plain, ..self };
        query.leaves_state.map_or(created, |state| created.leaving(state))
    }

    /// What it may leave in the session, at worst.
    pub(super) fn remains(self) -> Remains {
        match self.leaves_state {
            Some(state) => state.remains(),
            None if self.is_plain => Remains::Nothing,
            None => Remains::Resettable,
        }
    }
}

/// `PERSISTENCE_TEMP` of a parsed relation, as PostgreSQL spells it.
const TEMPORARY: u8 = b't';

/// `CURSOR_OPT_HOLD` of a parsed DECLARE.
const CURSOR_HOLD: i32 = 0x20;

/// Looks at one statement.
///
/// DDL is what PostgreSQL logs under `log_statement = ddl` (its `GetCommandLogLevel`).
pub(super) fn inspect(statement: Node<'_>, classifier: &Classifier) -> Finding {
    match statement {
        Node::SelectStmt(_)
        | Node::InsertStmt(_)
        | Node::UpdateStmt(_)
        | Node::DeleteStmt(_)
        | Node::MergeStmt(_) => inspect_tree(statement, classifier),

        Node::TransactionStmt(statement) => transaction(statement),
        Node::VariableShowStmt(_) => Finding::READ,
        Node::VariableSetStmt(set) => {
            // SET TRANSACTION is spelt as a list of its own, and ends with the transaction.
            let is_of_transaction =
                set.kind == VariableSetKind::VAR_SET_MULTI && set.name() == Some("TRANSACTION");
            if is_of_transaction {
                Finding::WRITE
            } else if set.is_local {
                let alters_meaning = set.name().is_none_or(meaning::depends_on);
                Finding { alters_meaning, ..Finding::WRITE }
            } else {
                Finding::WRITE.leaving(StateKind::Setting)
            }
        }
        Node::ExplainStmt(explain) => match explain.query() {
            // What is prepared under the name is not in the text.
            Node::ExecuteStmt(_) => Finding { is_plain: false, ..Finding::WRITE },
            query if has_option(explain.options(), "analyze") => {
                inspect_explained(query, classifier)
            }
            _ => Finding::READ,
        },
        Node::CopyStmt(copy) if copy.is_from || copy.is_program || copy.filename().is_some() => {
            Finding::WRITE
        }
        Node::CopyStmt(copy) => match copy.query() {
            Node::None => Finding::READ,
            query => inspect_tree(query, classifier),
        },
        Node::DeclareCursorStmt(declare) => {
            let query = inspect_tree(declare.query(), classifier);
            if declare.options & CURSOR_HOLD == 0 {
                query
            } else {
                let Finding { leaves_state, alters_meaning, is_plain, .. } = query;
                Finding { leaves_state, alters_meaning, is_plain, ..Finding::WRITE }
                    .leaving(StateKind::HoldCursor)
            }
        }

        Node::PrepareStmt(_) | Node::DeallocateStmt(_) => {
            Finding::WRITE.leaving(StateKind::Prepared)
        }
        Node::ListenStmt(_) | Node::UnlistenStmt(_) => Finding::WRITE.leaving(StateKind::Listen),
        Node::LoadStmt(_) => Finding::WRITE.leaving(StateKind::Load),
        Node::DiscardStmt(_) => Finding::WRITE.leaving(StateKind::Discard),
        Node::CallStmt(_) | Node::DoStmt(_) | Node::ExecuteStmt(_) => {
            Finding::WRITE.leaving(StateKind::Unknown)
        }
        Node::FetchStmt(_)
        | Node::ClosePortalStmt(_)
        | Node::NotifyStmt(_)
        | Node::LockStmt(_)
        | Node::ConstraintsSetStmt(_)
        | Node::TruncateStmt(_)
        | Node::VacuumStmt(_)
        | Node::ReindexStmt(_)
        | Node::CheckPointStmt(_) => Finding::WRITE,

        Node::CreateStmt(create) => {
            let ends_with_transaction = create.oncommit == OnCommitAction::ONCOMMIT_DROP;
            created(create.relation(), ends_with_transaction)
        }
        Node::CreateTableAsStmt(create) => created_from(create, classifier),
        Node::ViewStmt(create) => created(create.view(), false),
        Node::CreateSeqStmt(create) => created(create.sequence(), false),
        _ => Finding::OBSCURE_DDL,
    }
}

fn transaction(statement: &nodes::TransactionStmt) -> Finding {
    use TransactionStmtKind as Kind;
    let chain = statement.chain;
    let (control, may_run_on_replica) = match statement.kind {
        Kind::TRANS_STMT_BEGIN | Kind::TRANS_STMT_START => {
            let read_only = has_option(statement.options(), "transaction_read_only");
            (TransactionControl::Begin { read_only }, read_only)
        }
        Kind::TRANS_STMT_COMMIT => (TransactionControl::Commit { chain }, true),
        Kind::TRANS_STMT_ROLLBACK => (TransactionControl::Rollback { chain }, true),
        Kind::TRANS_STMT_SAVEPOINT | Kind::TRANS_STMT_RELEASE | Kind::TRANS_STMT_ROLLBACK_TO => {
            (TransactionControl::Savepoint, true)
        }
        Kind::TRANS_STMT_PREPARE => (TransactionControl::Prepare, false),
        Kind::TRANS_STMT_COMMIT_PREPARED => (TransactionControl::CommitPrepared, false),
        Kind::TRANS_STMT_ROLLBACK_PREPARED => (TransactionControl::RollbackPrepared, false),
        _ => return Finding::WRITE.leaving(StateKind::Unknown),
    };
    Finding { transaction: Some(control), may_run_on_replica, ..Finding::WRITE }
}

/// Whether an option is on: given without a value, or with one that is not plainly false.
fn has_option(options: &NodeList, name: &str) -> bool {
    let is_on = |option: &nodes::DefElem| match option.arg() {
        Node::Integer(number) => number.ival != 0,
        Node::Boolean(value) => value.boolval,
        Node::String(text) => {
            let text = text.sval().unwrap_or_default();
            !["off", "false"].iter().any(|off| text.eq_ignore_ascii_case(off))
        }
        Node::A_Const(value) => match value.val() {
            Some(Node::Integer(number)) => number.ival != 0,
            Some(Node::Boolean(value)) => value.boolval,
            _ => true,
        },
        _ => true,
    };
    let named = |option| match option {
        Node::DefElem(option) if option.defname() == Some(name) => Some(option),
        _ => None,
    };
    // Given twice, the last one counts.
    options.iter().rev().find_map(named).is_some_and(is_on)
}

fn inspect_explained(query: Node<'_>, classifier: &Classifier) -> Finding {
    match query {
        Node::CreateTableAsStmt(create) => created_from(create, classifier),
        Node::DeclareCursorStmt(declare) => inspect_tree(declare.query(), classifier),
        query => inspect_tree(query, classifier),
    }
}

fn is_temporary(relation: &nodes::RangeVar) -> bool {
    relation.relpersistence == TEMPORARY
        || relation.schemaname().is_some_and(|schema| schema.starts_with("pg_temp"))
}

fn created(relation: Option<&nodes::RangeVar>, ends_with_transaction: bool) -> Finding {
    if relation.is_some_and(is_temporary) && !ends_with_transaction {
        Finding::DDL.leaving(StateKind::Temporary)
    } else {
        Finding::DDL
    }
}

fn created_as(into: Option<&nodes::IntoClause>) -> Finding {
    let ends = into.is_some_and(|into| into.on_commit == OnCommitAction::ONCOMMIT_DROP);
    created(into.and_then(nodes::IntoClause::rel), ends)
}

fn created_from(create: &nodes::CreateTableAsStmt, classifier: &Classifier) -> Finding {
    let source = match create.query() {
        // What is prepared under the name is not in the text.
        Node::ExecuteStmt(_) => Finding { is_plain: false, ..Finding::WRITE },
        query => inspect_tree(query, classifier),
    };
    created_as(create.into()).with_doings_of(source)
}

/// Looks at a whole tree of SELECT, VALUES, TABLE, INSERT, UPDATE, DELETE or MERGE.
fn inspect_tree(root: Node<'_>, classifier: &Classifier) -> Finding {
    let mut finding = Finding::READ;
    let mut stack = vec![root];
    while let Some(node) = stack.pop() {
        inspect_node(node, classifier, &mut finding);
        if node.children(&mut stack).is_err() {
            return Finding::WRITE.leaving(StateKind::Unknown);
        }
    }
    finding
}

fn inspect_node(node: Node<'_>, classifier: &Classifier, finding: &mut Finding) {
    let mut write = || {
        finding.query_type = match finding.query_type {
            QueryType::Ddl => QueryType::Ddl,
            _ => QueryType::Write,
        };
        finding.may_run_on_replica = false;
    };
    match node {
        Node::UpdateStmt(update) if update.relation().is_some_and(is_settings_view) => {
            write();
            *finding = finding.leaving(StateKind::Setting);
        }
        Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
            write();
        }
        Node::SelectStmt(select) => {
            if !select.locking_clause().is_empty() {
                write();
            }
            if let Some(into) = select.into_clause() {
                *finding = created_as(Some(into)).with_doings_of(*finding);
            }
        }
        Node::FuncCall(call) => {
            if !is_read_only(call.funcname(), classifier) {
                write();
            }
            finding.is_plain &= is_plain_call(call.funcname());
            finding.alters_meaning |= alters_meaning(call);
            if let Some(state) = state_of_call(call) {
                *finding = finding.leaving(state);
            }
        }
        // An operator of somebody's own may call anything.
        Node::A_Expr(expression) if !is_plain_operator(expression.name()) => {
            write();
            finding.is_plain = false;
        }
        // A temporary table is where the session is, or it is an error: not on a replica.
        Node::RangeVar(relation) if is_temporary(relation) => write(),
        _ => {}
    }
}

/// The schema, if given, and the name; what stands before those is the database.
fn split_name(name: &NodeList) -> (Option<&str>, &str) {
    let part = |at: usize| name.get(at).and_then(Node::as_str);
    let last = name.len().saturating_sub(1);
    (last.checked_sub(1).and_then(part), part(last).unwrap_or_default())
}

fn is_read_only(name: &NodeList, classifier: &Classifier) -> bool {
    let (schema, name) = split_name(name);
    let is_built_in = matches!(schema, None | Some("pg_catalog"));
    (is_built_in && functions::is_read_only(name)) || classifier.is_declared(schema, name)
}

/// Whether its name tells all that a call leaves in the session.
fn is_plain_call(name: &NodeList) -> bool {
    let (schema, name) = split_name(name);
    matches!(schema, None | Some("pg_catalog"))
        && (functions::is_read_only(name)
            || functions::is_session_advisory(name)
            || functions::is_transaction_advisory(name)
            || name == "set_config")
}

/// Whether an UPDATE of it is a SET.
fn is_settings_view(relation: &nodes::RangeVar) -> bool {
    relation.relname() == Some("pg_settings")
        && matches!(relation.schemaname(), None | Some("pg_catalog"))
}

fn is_plain_operator(name: &NodeList) -> bool {
    matches!(split_name(name).0, None | Some("pg_catalog"))
}

/// What a call leaves in the session.
fn state_of_call(call: &nodes::FuncCall) -> Option<StateKind> {
    let (schema, name) = split_name(call.funcname());
    if functions::is_untold(name) {
        return Some(StateKind::Untold);
    }
    if !matches!(schema, None | Some("pg_catalog")) {
        return None;
    }
    if functions::is_session_advisory(name) {
        return Some(StateKind::AdvisoryLock);
    }
    let is_local = || matches!(call.args().get(2), Some(is_local) if is_true(is_local));
    (name == "set_config" && !is_local()).then_some(StateKind::Setting)
}

/// Whether it is a `set_config` of something under which texts may mean something else.
fn alters_meaning(call: &nodes::FuncCall) -> bool {
    let name = || match call.args().get(0) {
        Some(Node::A_Const(value)) => match value.val() {
            Some(Node::String(text)) => text.sval(),
            _ => None,
        },
        _ => None,
    };
    split_name(call.funcname()).1 == "set_config" && name().is_none_or(meaning::depends_on)
}

/// Whether an expression is plainly true: `true`, or a cast of `'t'` and the like is not asked.
fn is_true(expression: Node<'_>) -> bool {
    match expression {
        Node::A_Const(value) => matches!(value.val(), Some(Node::Boolean(value)) if value.boolval),
        _ => false,
    }
}
