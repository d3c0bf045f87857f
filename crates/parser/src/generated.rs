//! Written by `cargo x bindings` from PostgreSQL's headers. Read `schema.rs` first.

nodes! {
    List = 1;

    Alias = 2 {
        aliasname: text,
        colnames: list,
    }

    RangeVar = 3 {
        catalogname: text,
        schemaname: text,
        relname: text,
        pub inh: plain(bool),
        pub relpersistence: plain(u8),
        alias: node(Alias),
        pub location: plain(i32),
    }

    TableFunc = 4 {
        pub functype: plain(TableFuncType::Type),
        ns_uris: list,
        ns_names: list,
        docexpr: any,
        rowexpr: any,
        colnames: list,
        coltypes: list,
        coltypmods: list,
        colcollations: list,
        colexprs: list,
        coldefexprs: list,
        colvalexprs: list,
        passingvalexprs: list,
        notnulls: opaque,
        plan: any,
        pub ordinalitycol: plain(i32),
        pub location: plain(i32),
    }

    IntoClause = 5 {
        rel: node(RangeVar),
        col_names: list,
        access_method: text,
        options: list,
        pub on_commit: plain(OnCommitAction::Type),
        table_space_name: text,
        view_query: node(Query),
        pub skip_data: plain(bool),
    }

    Var = 6 {
        pub varno: plain(i32),
        pub varattno: plain(i16),
        pub vartype: plain(u32),
        pub vartypmod: plain(i32),
        pub varcollid: plain(u32),
        varnullingrels: opaque,
        pub varlevelsup: plain(u32),
        pub varreturningtype: plain(VarReturningType::Type),
        pub varnosyn: plain(u32),
        pub varattnosyn: plain(i16),
        pub location: plain(i32),
    }

    Const = 7 {
        pub consttype: plain(u32),
        pub consttypmod: plain(i32),
        pub constcollid: plain(u32),
        pub constlen: plain(i32),
        pub constvalue: plain(usize),
        pub constisnull: plain(bool),
        pub constbyval: plain(bool),
        pub location: plain(i32),
    }

    Param = 8 {
        pub paramkind: plain(ParamKind::Type),
        pub paramid: plain(i32),
        pub paramtype: plain(u32),
        pub paramtypmod: plain(i32),
        pub paramcollid: plain(u32),
        pub location: plain(i32),
    }

    Aggref = 9 {
        pub aggfnoid: plain(u32),
        pub aggtype: plain(u32),
        pub aggcollid: plain(u32),
        pub inputcollid: plain(u32),
        pub aggtranstype: plain(u32),
        aggargtypes: list,
        aggdirectargs: list,
        args: list,
        aggorder: list,
        aggdistinct: list,
        aggfilter: any,
        pub aggstar: plain(bool),
        pub aggvariadic: plain(bool),
        pub aggkind: plain(u8),
        pub aggpresorted: plain(bool),
        pub agglevelsup: plain(u32),
        pub aggsplit: plain(AggSplit::Type),
        pub aggno: plain(i32),
        pub aggtransno: plain(i32),
        pub location: plain(i32),
    }

    GroupingFunc = 10 {
        args: list,
        refs: list,
        cols: list,
        pub agglevelsup: plain(u32),
        pub location: plain(i32),
    }

    WindowFunc = 11 {
        pub winfnoid: plain(u32),
        pub wintype: plain(u32),
        pub wincollid: plain(u32),
        pub inputcollid: plain(u32),
        args: list,
        aggfilter: any,
        run_condition: list,
        pub winref: plain(u32),
        pub winstar: plain(bool),
        pub winagg: plain(bool),
        pub location: plain(i32),
    }

    WindowFuncRunCondition = 12 {
        pub opno: plain(u32),
        pub inputcollid: plain(u32),
        pub wfunc_left: plain(bool),
        arg: any,
    }

    MergeSupportFunc = 13 {
        pub msftype: plain(u32),
        pub msfcollid: plain(u32),
        pub location: plain(i32),
    }

    SubscriptingRef = 14 {
        pub refcontainertype: plain(u32),
        pub refelemtype: plain(u32),
        pub refrestype: plain(u32),
        pub reftypmod: plain(i32),
        pub refcollid: plain(u32),
        refupperindexpr: list,
        reflowerindexpr: list,
        refexpr: any,
        refassgnexpr: any,
    }

    FuncExpr = 15 {
        pub funcid: plain(u32),
        pub funcresulttype: plain(u32),
        pub funcretset: plain(bool),
        pub funcvariadic: plain(bool),
        pub funcformat: plain(CoercionForm::Type),
        pub funccollid: plain(u32),
        pub inputcollid: plain(u32),
        args: list,
        pub location: plain(i32),
    }

    NamedArgExpr = 16 {
        arg: any,
        name: text,
        pub argnumber: plain(i32),
        pub location: plain(i32),
    }

    OpExpr = 17 {
        pub opno: plain(u32),
        pub opfuncid: plain(u32),
        pub opresulttype: plain(u32),
        pub opretset: plain(bool),
        pub opcollid: plain(u32),
        pub inputcollid: plain(u32),
        args: list,
        pub location: plain(i32),
    }

    ScalarArrayOpExpr = 20 {
        pub opno: plain(u32),
        pub opfuncid: plain(u32),
        pub hashfuncid: plain(u32),
        pub negfuncid: plain(u32),
        pub use_or: plain(bool),
        pub inputcollid: plain(u32),
        args: list,
        pub location: plain(i32),
    }

    BoolExpr = 21 {
        pub boolop: plain(BoolExprType::Type),
        args: list,
        pub location: plain(i32),
    }

    SubLink = 22 {
        pub sub_link_type: plain(SubLinkType::Type),
        pub sub_link_id: plain(i32),
        testexpr: any,
        oper_name: list,
        subselect: any,
        pub location: plain(i32),
    }

    SubPlan = 23 {
        pub sub_link_type: plain(SubLinkType::Type),
        testexpr: any,
        param_ids: list,
        pub plan_id: plain(i32),
        plan_name: text,
        pub first_col_type: plain(u32),
        pub first_col_typmod: plain(i32),
        pub first_col_collation: plain(u32),
        pub use_hash_table: plain(bool),
        pub unknown_eq_false: plain(bool),
        pub parallel_safe: plain(bool),
        set_param: list,
        par_param: list,
        args: list,
        pub startup_cost: plain(f64),
        pub per_call_cost: plain(f64),
    }

    AlternativeSubPlan = 24 {
        subplans: list,
    }

    FieldSelect = 25 {
        arg: any,
        pub fieldnum: plain(i16),
        pub resulttype: plain(u32),
        pub resulttypmod: plain(i32),
        pub resultcollid: plain(u32),
    }

    FieldStore = 26 {
        arg: any,
        newvals: list,
        fieldnums: list,
        pub resulttype: plain(u32),
    }

    RelabelType = 27 {
        arg: any,
        pub resulttype: plain(u32),
        pub resulttypmod: plain(i32),
        pub resultcollid: plain(u32),
        pub relabelformat: plain(CoercionForm::Type),
        pub location: plain(i32),
    }

    CoerceViaIO = 28 {
        arg: any,
        pub resulttype: plain(u32),
        pub resultcollid: plain(u32),
        pub coerceformat: plain(CoercionForm::Type),
        pub location: plain(i32),
    }

    ArrayCoerceExpr = 29 {
        arg: any,
        elemexpr: any,
        pub resulttype: plain(u32),
        pub resulttypmod: plain(i32),
        pub resultcollid: plain(u32),
        pub coerceformat: plain(CoercionForm::Type),
        pub location: plain(i32),
    }

    ConvertRowtypeExpr = 30 {
        arg: any,
        pub resulttype: plain(u32),
        pub convertformat: plain(CoercionForm::Type),
        pub location: plain(i32),
    }

    CollateExpr = 31 {
        arg: any,
        pub coll_oid: plain(u32),
        pub location: plain(i32),
    }

    CaseExpr = 32 {
        pub casetype: plain(u32),
        pub casecollid: plain(u32),
        arg: any,
        args: list,
        defresult: any,
        pub location: plain(i32),
    }

    CaseWhen = 33 {
        expr: any,
        result: any,
        pub location: plain(i32),
    }

    CaseTestExpr = 34 {
        pub type_id: plain(u32),
        pub type_mod: plain(i32),
        pub collation: plain(u32),
    }

    ArrayExpr = 35 {
        pub array_typeid: plain(u32),
        pub array_collid: plain(u32),
        pub element_typeid: plain(u32),
        elements: list,
        pub multidims: plain(bool),
        pub list_start: plain(i32),
        pub list_end: plain(i32),
        pub location: plain(i32),
    }

    RowExpr = 36 {
        args: list,
        pub row_typeid: plain(u32),
        pub row_format: plain(CoercionForm::Type),
        colnames: list,
        pub location: plain(i32),
    }

    RowCompareExpr = 37 {
        pub cmptype: plain(CompareType::Type),
        opnos: list,
        opfamilies: list,
        inputcollids: list,
        largs: list,
        rargs: list,
    }

    CoalesceExpr = 38 {
        pub coalescetype: plain(u32),
        pub coalescecollid: plain(u32),
        args: list,
        pub location: plain(i32),
    }

    MinMaxExpr = 39 {
        pub minmaxtype: plain(u32),
        pub minmaxcollid: plain(u32),
        pub inputcollid: plain(u32),
        pub op: plain(MinMaxOp::Type),
        args: list,
        pub location: plain(i32),
    }

    SQLValueFunction = 40 {
        pub op: plain(SQLValueFunctionOp::Type),
        pub type_: plain(u32),
        pub typmod: plain(i32),
        pub location: plain(i32),
    }

    XmlExpr = 41 {
        pub op: plain(XmlExprOp::Type),
        name: text,
        named_args: list,
        arg_names: list,
        args: list,
        pub xmloption: plain(XmlOptionType::Type),
        pub indent: plain(bool),
        pub type_: plain(u32),
        pub typmod: plain(i32),
        pub location: plain(i32),
    }

    JsonFormat = 42 {
        pub format_type: plain(JsonFormatType::Type),
        pub encoding: plain(JsonEncoding::Type),
        pub location: plain(i32),
    }

    JsonReturning = 43 {
        format: node(JsonFormat),
        pub typid: plain(u32),
        pub typmod: plain(i32),
    }

    JsonValueExpr = 44 {
        raw_expr: any,
        formatted_expr: any,
        format: node(JsonFormat),
    }

    JsonConstructorExpr = 45 {
        pub type_: plain(JsonConstructorType::Type),
        args: list,
        func: any,
        coercion: any,
        returning: node(JsonReturning),
        pub absent_on_null: plain(bool),
        pub unique: plain(bool),
        pub location: plain(i32),
    }

    JsonIsPredicate = 46 {
        expr: any,
        format: node(JsonFormat),
        pub item_type: plain(JsonValueType::Type),
        pub unique_keys: plain(bool),
        pub location: plain(i32),
    }

    JsonBehavior = 47 {
        pub btype: plain(JsonBehaviorType::Type),
        expr: any,
        pub coerce: plain(bool),
        pub location: plain(i32),
    }

    JsonExpr = 48 {
        pub op: plain(JsonExprOp::Type),
        column_name: text,
        formatted_expr: any,
        format: node(JsonFormat),
        path_spec: any,
        returning: node(JsonReturning),
        passing_names: list,
        passing_values: list,
        on_empty: node(JsonBehavior),
        on_error: node(JsonBehavior),
        pub use_io_coercion: plain(bool),
        pub use_json_coercion: plain(bool),
        pub wrapper: plain(JsonWrapper::Type),
        pub omit_quotes: plain(bool),
        pub collation: plain(u32),
        pub location: plain(i32),
    }

    JsonTablePath = 49 {
        value: node(Const),
        name: text,
    }

    NullTest = 52 {
        arg: any,
        pub nulltesttype: plain(NullTestType::Type),
        pub argisrow: plain(bool),
        pub location: plain(i32),
    }

    BooleanTest = 53 {
        arg: any,
        pub booltesttype: plain(BoolTestType::Type),
        pub location: plain(i32),
    }

    MergeAction = 54 {
        pub match_kind: plain(MergeMatchKind::Type),
        pub command_type: plain(CmdType::Type),
        pub override_: plain(OverridingKind::Type),
        qual: any,
        target_list: list,
        update_colnos: list,
    }

    CoerceToDomain = 55 {
        arg: any,
        pub resulttype: plain(u32),
        pub resulttypmod: plain(i32),
        pub resultcollid: plain(u32),
        pub coercionformat: plain(CoercionForm::Type),
        pub location: plain(i32),
    }

    CoerceToDomainValue = 56 {
        pub type_id: plain(u32),
        pub type_mod: plain(i32),
        pub collation: plain(u32),
        pub location: plain(i32),
    }

    SetToDefault = 57 {
        pub type_id: plain(u32),
        pub type_mod: plain(i32),
        pub collation: plain(u32),
        pub location: plain(i32),
    }

    CurrentOfExpr = 58 {
        pub cvarno: plain(u32),
        cursor_name: text,
        pub cursor_param: plain(i32),
    }

    NextValueExpr = 59 {
        pub seqid: plain(u32),
        pub type_id: plain(u32),
    }

    InferenceElem = 60 {
        expr: any,
        pub infercollid: plain(u32),
        pub inferopclass: plain(u32),
    }

    ReturningExpr = 61 {
        pub retlevelsup: plain(i32),
        pub retold: plain(bool),
        retexpr: any,
    }

    TargetEntry = 62 {
        expr: any,
        pub resno: plain(i16),
        resname: text,
        pub ressortgroupref: plain(u32),
        pub resorigtbl: plain(u32),
        pub resorigcol: plain(i16),
        pub resjunk: plain(bool),
    }

    RangeTblRef = 63 {
        pub rtindex: plain(i32),
    }

    JoinExpr = 64 {
        pub jointype: plain(JoinType::Type),
        pub is_natural: plain(bool),
        larg: any,
        rarg: any,
        using_clause: list,
        join_using_alias: node(Alias),
        quals: any,
        alias: node(Alias),
        pub rtindex: plain(i32),
    }

    FromExpr = 65 {
        fromlist: list,
        quals: any,
    }

    OnConflictExpr = 66 {
        pub action: plain(OnConflictAction::Type),
        arbiter_elems: list,
        arbiter_where: any,
        pub constraint: plain(u32),
        on_conflict_set: list,
        on_conflict_where: any,
        pub excl_rel_index: plain(i32),
        excl_rel_tlist: list,
    }

    Query = 67 {
        pub command_type: plain(CmdType::Type),
        pub query_source: plain(QuerySource::Type),
        pub query_id: plain(i64),
        pub can_set_tag: plain(bool),
        utility_stmt: any,
        pub result_relation: plain(i32),
        pub has_aggs: plain(bool),
        pub has_window_funcs: plain(bool),
        pub has_target_sr_fs: plain(bool),
        pub has_sub_links: plain(bool),
        pub has_distinct_on: plain(bool),
        pub has_recursive: plain(bool),
        pub has_modifying_cte: plain(bool),
        pub has_for_update: plain(bool),
        pub has_row_security: plain(bool),
        pub has_group_rte: plain(bool),
        pub is_return: plain(bool),
        cte_list: list,
        rtable: list,
        rteperminfos: list,
        jointree: node(FromExpr),
        merge_action_list: list,
        pub merge_target_relation: plain(i32),
        merge_join_condition: any,
        target_list: list,
        pub override_: plain(OverridingKind::Type),
        on_conflict: node(OnConflictExpr),
        returning_old_alias: text,
        returning_new_alias: text,
        returning_list: list,
        group_clause: list,
        pub group_distinct: plain(bool),
        grouping_sets: list,
        having_qual: any,
        window_clause: list,
        distinct_clause: list,
        sort_clause: list,
        limit_offset: any,
        limit_count: any,
        pub limit_option: plain(LimitOption::Type),
        row_marks: list,
        set_operations: any,
        constraint_deps: list,
        with_check_options: list,
        pub stmt_location: plain(i32),
        pub stmt_len: plain(i32),
    }

    TypeName = 68 {
        names: list,
        pub type_oid: plain(u32),
        pub setof: plain(bool),
        pub pct_type: plain(bool),
        typmods: list,
        pub typemod: plain(i32),
        array_bounds: list,
        pub location: plain(i32),
    }

    ColumnRef = 69 {
        fields: list,
        pub location: plain(i32),
    }

    ParamRef = 70 {
        pub number: plain(i32),
        pub location: plain(i32),
    }

    A_Expr = 71 {
        pub kind: plain(A_Expr_Kind::Type),
        name: list,
        lexpr: any,
        rexpr: any,
        pub rexpr_list_start: plain(i32),
        pub rexpr_list_end: plain(i32),
        pub location: plain(i32),
    }

    A_Const = 72 {
        pub(crate) val: value,
        pub isnull: plain(bool),
        pub location: plain(i32),
    }

    TypeCast = 73 {
        arg: any,
        type_name: node(TypeName),
        pub location: plain(i32),
    }

    CollateClause = 74 {
        arg: any,
        collname: list,
        pub location: plain(i32),
    }

    RoleSpec = 75 {
        pub roletype: plain(RoleSpecType::Type),
        rolename: text,
        pub location: plain(i32),
    }

    FuncCall = 76 {
        funcname: list,
        args: list,
        agg_order: list,
        agg_filter: any,
        over: node(WindowDef),
        pub agg_within_group: plain(bool),
        pub agg_star: plain(bool),
        pub agg_distinct: plain(bool),
        pub func_variadic: plain(bool),
        pub funcformat: plain(CoercionForm::Type),
        pub location: plain(i32),
    }

    A_Star = 77 {
    }

    A_Indices = 78 {
        pub is_slice: plain(bool),
        lidx: any,
        uidx: any,
    }

    A_Indirection = 79 {
        arg: any,
        indirection: list,
    }

    A_ArrayExpr = 80 {
        elements: list,
        pub list_start: plain(i32),
        pub list_end: plain(i32),
        pub location: plain(i32),
    }

    ResTarget = 81 {
        name: text,
        indirection: list,
        val: any,
        pub location: plain(i32),
    }

    MultiAssignRef = 82 {
        source: any,
        pub colno: plain(i32),
        pub ncolumns: plain(i32),
    }

    SortBy = 83 {
        node: any,
        pub sortby_dir: plain(SortByDir::Type),
        pub sortby_nulls: plain(SortByNulls::Type),
        use_op: list,
        pub location: plain(i32),
    }

    WindowDef = 84 {
        name: text,
        refname: text,
        partition_clause: list,
        order_clause: list,
        pub frame_options: plain(i32),
        start_offset: any,
        end_offset: any,
        pub location: plain(i32),
    }

    RangeSubselect = 85 {
        pub lateral: plain(bool),
        subquery: any,
        alias: node(Alias),
    }

    RangeFunction = 86 {
        pub lateral: plain(bool),
        pub ordinality: plain(bool),
        pub is_rowsfrom: plain(bool),
        functions: list,
        alias: node(Alias),
        coldeflist: list,
    }

    RangeTableFunc = 87 {
        pub lateral: plain(bool),
        docexpr: any,
        rowexpr: any,
        namespaces: list,
        columns: list,
        alias: node(Alias),
        pub location: plain(i32),
    }

    RangeTableFuncCol = 88 {
        colname: text,
        type_name: node(TypeName),
        pub for_ordinality: plain(bool),
        pub is_not_null: plain(bool),
        colexpr: any,
        coldefexpr: any,
        pub location: plain(i32),
    }

    RangeTableSample = 89 {
        relation: any,
        method: list,
        args: list,
        repeatable: any,
        pub location: plain(i32),
    }

    ColumnDef = 90 {
        colname: text,
        type_name: node(TypeName),
        compression: text,
        pub inhcount: plain(i16),
        pub is_local: plain(bool),
        pub is_not_null: plain(bool),
        pub is_from_type: plain(bool),
        pub storage: plain(u8),
        storage_name: text,
        raw_default: any,
        cooked_default: any,
        pub identity: plain(u8),
        identity_sequence: node(RangeVar),
        pub generated: plain(u8),
        coll_clause: node(CollateClause),
        pub coll_oid: plain(u32),
        constraints: list,
        fdwoptions: list,
        pub location: plain(i32),
    }

    TableLikeClause = 91 {
        relation: node(RangeVar),
        pub options: plain(u32),
        pub relation_oid: plain(u32),
    }

    IndexElem = 92 {
        name: text,
        expr: any,
        indexcolname: text,
        collation: list,
        opclass: list,
        opclassopts: list,
        pub ordering: plain(SortByDir::Type),
        pub nulls_ordering: plain(SortByNulls::Type),
    }

    DefElem = 93 {
        defnamespace: text,
        defname: text,
        arg: any,
        pub defaction: plain(DefElemAction::Type),
        pub location: plain(i32),
    }

    LockingClause = 94 {
        locked_rels: list,
        pub strength: plain(LockClauseStrength::Type),
        pub wait_policy: plain(LockWaitPolicy::Type),
    }

    XmlSerialize = 95 {
        pub xmloption: plain(XmlOptionType::Type),
        expr: any,
        type_name: node(TypeName),
        pub indent: plain(bool),
        pub location: plain(i32),
    }

    PartitionElem = 96 {
        name: text,
        expr: any,
        collation: list,
        opclass: list,
        pub location: plain(i32),
    }

    PartitionSpec = 97 {
        pub strategy: plain(PartitionStrategy::Type),
        part_params: list,
        pub location: plain(i32),
    }

    PartitionRangeDatum = 99 {
        pub kind: plain(PartitionRangeDatumKind::Type),
        value: any,
        pub location: plain(i32),
    }

    PartitionCmd = 100 {
        name: node(RangeVar),
        bound: opaque,
        pub concurrent: plain(bool),
    }

    RangeTblEntry = 101 {
        alias: node(Alias),
        eref: node(Alias),
        pub rtekind: plain(RTEKind::Type),
        pub relid: plain(u32),
        pub inh: plain(bool),
        pub relkind: plain(u8),
        pub rellockmode: plain(i32),
        pub perminfoindex: plain(u32),
        tablesample: node(TableSampleClause),
        subquery: node(Query),
        pub security_barrier: plain(bool),
        pub jointype: plain(JoinType::Type),
        pub joinmergedcols: plain(i32),
        joinaliasvars: list,
        joinleftcols: list,
        joinrightcols: list,
        join_using_alias: node(Alias),
        functions: list,
        pub funcordinality: plain(bool),
        tablefunc: node(TableFunc),
        values_lists: list,
        ctename: text,
        pub ctelevelsup: plain(u32),
        pub self_reference: plain(bool),
        coltypes: list,
        coltypmods: list,
        colcollations: list,
        enrname: text,
        pub enrtuples: plain(f64),
        groupexprs: list,
        pub lateral: plain(bool),
        pub in_from_cl: plain(bool),
        security_quals: list,
    }

    RTEPermissionInfo = 102 {
        pub relid: plain(u32),
        pub inh: plain(bool),
        pub required_perms: plain(u64),
        pub check_as_user: plain(u32),
        selected_cols: opaque,
        inserted_cols: opaque,
        updated_cols: opaque,
    }

    RangeTblFunction = 103 {
        funcexpr: any,
        pub funccolcount: plain(i32),
        funccolnames: list,
        funccoltypes: list,
        funccoltypmods: list,
        funccolcollations: list,
        funcparams: opaque,
    }

    TableSampleClause = 104 {
        pub tsmhandler: plain(u32),
        args: list,
        repeatable: any,
    }

    WithCheckOption = 105 {
        pub kind: plain(WCOKind::Type),
        relname: text,
        polname: text,
        qual: any,
        pub cascaded: plain(bool),
    }

    SortGroupClause = 106 {
        pub tle_sort_group_ref: plain(u32),
        pub eqop: plain(u32),
        pub sortop: plain(u32),
        pub reverse_sort: plain(bool),
        pub nulls_first: plain(bool),
        pub hashable: plain(bool),
    }

    GroupingSet = 107 {
        pub kind: plain(GroupingSetKind::Type),
        content: list,
        pub location: plain(i32),
    }

    WindowClause = 108 {
        name: text,
        refname: text,
        partition_clause: list,
        order_clause: list,
        pub frame_options: plain(i32),
        start_offset: any,
        end_offset: any,
        pub start_in_range_func: plain(u32),
        pub end_in_range_func: plain(u32),
        pub in_range_coll: plain(u32),
        pub in_range_asc: plain(bool),
        pub in_range_nulls_first: plain(bool),
        pub winref: plain(u32),
        pub copied_order: plain(bool),
    }

    RowMarkClause = 109 {
        pub rti: plain(u32),
        pub strength: plain(LockClauseStrength::Type),
        pub wait_policy: plain(LockWaitPolicy::Type),
        pub pushed_down: plain(bool),
    }

    WithClause = 110 {
        ctes: list,
        pub recursive: plain(bool),
        pub location: plain(i32),
    }

    InferClause = 111 {
        index_elems: list,
        where_clause: any,
        conname: text,
        pub location: plain(i32),
    }

    OnConflictClause = 112 {
        pub action: plain(OnConflictAction::Type),
        infer: node(InferClause),
        target_list: list,
        where_clause: any,
        pub location: plain(i32),
    }

    CTESearchClause = 113 {
        search_col_list: list,
        pub search_breadth_first: plain(bool),
        search_seq_column: text,
        pub location: plain(i32),
    }

    CTECycleClause = 114 {
        cycle_col_list: list,
        cycle_mark_column: text,
        cycle_mark_value: any,
        cycle_mark_default: any,
        cycle_path_column: text,
        pub location: plain(i32),
        pub cycle_mark_type: plain(u32),
        pub cycle_mark_typmod: plain(i32),
        pub cycle_mark_collation: plain(u32),
        pub cycle_mark_neop: plain(u32),
    }

    CommonTableExpr = 115 {
        ctename: text,
        aliascolnames: list,
        pub ctematerialized: plain(CTEMaterialize::Type),
        ctequery: any,
        search_clause: node(CTESearchClause),
        cycle_clause: node(CTECycleClause),
        pub location: plain(i32),
        pub cterecursive: plain(bool),
        pub cterefcount: plain(i32),
        ctecolnames: list,
        ctecoltypes: list,
        ctecoltypmods: list,
        ctecolcollations: list,
    }

    MergeWhenClause = 116 {
        pub match_kind: plain(MergeMatchKind::Type),
        pub command_type: plain(CmdType::Type),
        pub override_: plain(OverridingKind::Type),
        condition: any,
        target_list: list,
        values: list,
    }

    ReturningOption = 117 {
        pub option: plain(ReturningOptionKind::Type),
        value: text,
        pub location: plain(i32),
    }

    ReturningClause = 118 {
        options: list,
        exprs: list,
    }

    TriggerTransition = 119 {
        name: text,
        pub is_new: plain(bool),
        pub is_table: plain(bool),
    }

    JsonOutput = 120 {
        type_name: node(TypeName),
        returning: node(JsonReturning),
    }

    JsonArgument = 121 {
        val: node(JsonValueExpr),
        name: text,
    }

    JsonFuncExpr = 122 {
        pub op: plain(JsonExprOp::Type),
        column_name: text,
        context_item: node(JsonValueExpr),
        pathspec: any,
        passing: list,
        output: node(JsonOutput),
        on_empty: node(JsonBehavior),
        on_error: node(JsonBehavior),
        pub wrapper: plain(JsonWrapper::Type),
        pub quotes: plain(JsonQuotes::Type),
        pub location: plain(i32),
    }

    JsonTablePathSpec = 123 {
        string: any,
        name: text,
        pub name_location: plain(i32),
        pub location: plain(i32),
    }

    JsonTable = 124 {
        context_item: node(JsonValueExpr),
        pathspec: node(JsonTablePathSpec),
        passing: list,
        columns: list,
        on_error: node(JsonBehavior),
        alias: node(Alias),
        pub lateral: plain(bool),
        pub location: plain(i32),
    }

    JsonTableColumn = 125 {
        pub coltype: plain(JsonTableColumnType::Type),
        name: text,
        type_name: node(TypeName),
        pathspec: node(JsonTablePathSpec),
        format: node(JsonFormat),
        pub wrapper: plain(JsonWrapper::Type),
        pub quotes: plain(JsonQuotes::Type),
        columns: list,
        on_empty: node(JsonBehavior),
        on_error: node(JsonBehavior),
        pub location: plain(i32),
    }

    JsonKeyValue = 126 {
        key: any,
        value: node(JsonValueExpr),
    }

    JsonParseExpr = 127 {
        expr: node(JsonValueExpr),
        output: node(JsonOutput),
        pub unique_keys: plain(bool),
        pub location: plain(i32),
    }

    JsonScalarExpr = 128 {
        expr: any,
        output: node(JsonOutput),
        pub location: plain(i32),
    }

    JsonSerializeExpr = 129 {
        expr: node(JsonValueExpr),
        output: node(JsonOutput),
        pub location: plain(i32),
    }

    JsonObjectConstructor = 130 {
        exprs: list,
        output: node(JsonOutput),
        pub absent_on_null: plain(bool),
        pub unique: plain(bool),
        pub location: plain(i32),
    }

    JsonArrayConstructor = 131 {
        exprs: list,
        output: node(JsonOutput),
        pub absent_on_null: plain(bool),
        pub location: plain(i32),
    }

    JsonArrayQueryConstructor = 132 {
        query: any,
        output: node(JsonOutput),
        format: node(JsonFormat),
        pub absent_on_null: plain(bool),
        pub location: plain(i32),
    }

    JsonAggConstructor = 133 {
        output: node(JsonOutput),
        agg_filter: any,
        agg_order: list,
        over: node(WindowDef),
        pub location: plain(i32),
    }

    JsonObjectAgg = 134 {
        constructor: node(JsonAggConstructor),
        arg: node(JsonKeyValue),
        pub absent_on_null: plain(bool),
        pub unique: plain(bool),
    }

    JsonArrayAgg = 135 {
        constructor: node(JsonAggConstructor),
        arg: node(JsonValueExpr),
        pub absent_on_null: plain(bool),
    }

    RawStmt = 136 {
        stmt: any,
        pub stmt_location: plain(i32),
        pub stmt_len: plain(i32),
    }

    InsertStmt = 137 {
        relation: node(RangeVar),
        cols: list,
        select_stmt: any,
        on_conflict_clause: node(OnConflictClause),
        returning_clause: node(ReturningClause),
        with_clause: node(WithClause),
        pub override_: plain(OverridingKind::Type),
    }

    DeleteStmt = 138 {
        relation: node(RangeVar),
        using_clause: list,
        where_clause: any,
        returning_clause: node(ReturningClause),
        with_clause: node(WithClause),
    }

    UpdateStmt = 139 {
        relation: node(RangeVar),
        target_list: list,
        where_clause: any,
        from_clause: list,
        returning_clause: node(ReturningClause),
        with_clause: node(WithClause),
    }

    MergeStmt = 140 {
        relation: node(RangeVar),
        source_relation: any,
        join_condition: any,
        merge_when_clauses: list,
        returning_clause: node(ReturningClause),
        with_clause: node(WithClause),
    }

    SelectStmt = 141 {
        distinct_clause: list,
        into_clause: node(IntoClause),
        target_list: list,
        from_clause: list,
        where_clause: any,
        group_clause: list,
        pub group_distinct: plain(bool),
        having_clause: any,
        window_clause: list,
        values_lists: list,
        sort_clause: list,
        limit_offset: any,
        limit_count: any,
        pub limit_option: plain(LimitOption::Type),
        locking_clause: list,
        with_clause: node(WithClause),
        pub op: plain(SetOperation::Type),
        pub all: plain(bool),
        larg: node(SelectStmt),
        rarg: node(SelectStmt),
    }

    SetOperationStmt = 142 {
        pub op: plain(SetOperation::Type),
        pub all: plain(bool),
        larg: any,
        rarg: any,
        col_types: list,
        col_typmods: list,
        col_collations: list,
        group_clauses: list,
    }

    ReturnStmt = 143 {
        returnval: any,
    }

    PLAssignStmt = 144 {
        name: text,
        indirection: list,
        pub nnames: plain(i32),
        val: node(SelectStmt),
        pub location: plain(i32),
    }

    CreateSchemaStmt = 145 {
        schemaname: text,
        authrole: node(RoleSpec),
        schema_elts: list,
        pub if_not_exists: plain(bool),
    }

    AlterTableStmt = 146 {
        relation: node(RangeVar),
        cmds: list,
        pub objtype: plain(ObjectType::Type),
        pub missing_ok: plain(bool),
    }

    AlterTableCmd = 147 {
        pub subtype: plain(AlterTableType::Type),
        name: text,
        pub num: plain(i16),
        newowner: node(RoleSpec),
        def: any,
        pub behavior: plain(DropBehavior::Type),
        pub missing_ok: plain(bool),
        pub recurse: plain(bool),
    }

    ATAlterConstraint = 148 {
        conname: text,
        pub alter_enforceability: plain(bool),
        pub is_enforced: plain(bool),
        pub alter_deferrability: plain(bool),
        pub deferrable: plain(bool),
        pub initdeferred: plain(bool),
        pub alter_inheritability: plain(bool),
        pub noinherit: plain(bool),
    }

    ReplicaIdentityStmt = 149 {
        pub identity_type: plain(u8),
        name: text,
    }

    AlterCollationStmt = 150 {
        collname: list,
    }

    AlterDomainStmt = 151 {
        pub subtype: plain(u8),
        type_name: list,
        name: text,
        def: any,
        pub behavior: plain(DropBehavior::Type),
        pub missing_ok: plain(bool),
    }

    GrantStmt = 152 {
        pub is_grant: plain(bool),
        pub targtype: plain(GrantTargetType::Type),
        pub objtype: plain(ObjectType::Type),
        objects: list,
        privileges: list,
        grantees: list,
        pub grant_option: plain(bool),
        grantor: node(RoleSpec),
        pub behavior: plain(DropBehavior::Type),
    }

    ObjectWithArgs = 153 {
        objname: list,
        objargs: list,
        objfuncargs: list,
        pub args_unspecified: plain(bool),
    }

    AccessPriv = 154 {
        priv_name: text,
        cols: list,
    }

    GrantRoleStmt = 155 {
        granted_roles: list,
        grantee_roles: list,
        pub is_grant: plain(bool),
        opt: list,
        grantor: node(RoleSpec),
        pub behavior: plain(DropBehavior::Type),
    }

    AlterDefaultPrivilegesStmt = 156 {
        options: list,
        action: node(GrantStmt),
    }

    CopyStmt = 157 {
        relation: node(RangeVar),
        query: any,
        attlist: list,
        pub is_from: plain(bool),
        pub is_program: plain(bool),
        filename: text,
        options: list,
        where_clause: any,
    }

    VariableSetStmt = 158 {
        pub kind: plain(VariableSetKind::Type),
        name: text,
        args: list,
        pub jumble_args: plain(bool),
        pub is_local: plain(bool),
        pub location: plain(i32),
    }

    VariableShowStmt = 159 {
        name: text,
    }

    CreateStmt = 160 {
        relation: node(RangeVar),
        table_elts: list,
        inh_relations: list,
        partbound: opaque,
        partspec: node(PartitionSpec),
        of_typename: node(TypeName),
        constraints: list,
        nnconstraints: list,
        options: list,
        pub oncommit: plain(OnCommitAction::Type),
        tablespacename: text,
        access_method: text,
        pub if_not_exists: plain(bool),
    }

    Constraint = 161 {
        pub contype: plain(ConstrType::Type),
        conname: text,
        pub deferrable: plain(bool),
        pub initdeferred: plain(bool),
        pub is_enforced: plain(bool),
        pub skip_validation: plain(bool),
        pub initially_valid: plain(bool),
        pub is_no_inherit: plain(bool),
        raw_expr: any,
        cooked_expr: text,
        pub generated_when: plain(u8),
        pub generated_kind: plain(u8),
        pub nulls_not_distinct: plain(bool),
        keys: list,
        pub without_overlaps: plain(bool),
        including: list,
        exclusions: list,
        options: list,
        indexname: text,
        indexspace: text,
        pub reset_default_tblspc: plain(bool),
        access_method: text,
        where_clause: any,
        pktable: node(RangeVar),
        fk_attrs: list,
        pk_attrs: list,
        pub fk_with_period: plain(bool),
        pub pk_with_period: plain(bool),
        pub fk_matchtype: plain(u8),
        pub fk_upd_action: plain(u8),
        pub fk_del_action: plain(u8),
        fk_del_set_cols: list,
        old_conpfeqop: list,
        pub old_pktable_oid: plain(u32),
        pub location: plain(i32),
    }

    CreateTableSpaceStmt = 162 {
        tablespacename: text,
        owner: node(RoleSpec),
        location: text,
        options: list,
    }

    DropTableSpaceStmt = 163 {
        tablespacename: text,
        pub missing_ok: plain(bool),
    }

    AlterTableSpaceOptionsStmt = 164 {
        tablespacename: text,
        options: list,
        pub is_reset: plain(bool),
    }

    AlterTableMoveAllStmt = 165 {
        orig_tablespacename: text,
        pub objtype: plain(ObjectType::Type),
        roles: list,
        new_tablespacename: text,
        pub nowait: plain(bool),
    }

    CreateExtensionStmt = 166 {
        extname: text,
        pub if_not_exists: plain(bool),
        options: list,
    }

    AlterExtensionStmt = 167 {
        extname: text,
        options: list,
    }

    AlterExtensionContentsStmt = 168 {
        extname: text,
        pub action: plain(i32),
        pub objtype: plain(ObjectType::Type),
        object: any,
    }

    CreateFdwStmt = 169 {
        fdwname: text,
        func_options: list,
        options: list,
    }

    AlterFdwStmt = 170 {
        fdwname: text,
        func_options: list,
        options: list,
    }

    CreateForeignServerStmt = 171 {
        servername: text,
        servertype: text,
        version: text,
        fdwname: text,
        pub if_not_exists: plain(bool),
        options: list,
    }

    AlterForeignServerStmt = 172 {
        servername: text,
        version: text,
        options: list,
        pub has_version: plain(bool),
    }

    CreateUserMappingStmt = 174 {
        user: node(RoleSpec),
        servername: text,
        pub if_not_exists: plain(bool),
        options: list,
    }

    AlterUserMappingStmt = 175 {
        user: node(RoleSpec),
        servername: text,
        options: list,
    }

    DropUserMappingStmt = 176 {
        user: node(RoleSpec),
        servername: text,
        pub missing_ok: plain(bool),
    }

    ImportForeignSchemaStmt = 177 {
        server_name: text,
        remote_schema: text,
        local_schema: text,
        pub list_type: plain(ImportForeignSchemaType::Type),
        table_list: list,
        options: list,
    }

    CreatePolicyStmt = 178 {
        policy_name: text,
        table: node(RangeVar),
        cmd_name: text,
        pub permissive: plain(bool),
        roles: list,
        qual: any,
        with_check: any,
    }

    AlterPolicyStmt = 179 {
        policy_name: text,
        table: node(RangeVar),
        roles: list,
        qual: any,
        with_check: any,
    }

    CreateAmStmt = 180 {
        amname: text,
        handler_name: list,
        pub amtype: plain(u8),
    }

    CreateTrigStmt = 181 {
        pub replace: plain(bool),
        pub isconstraint: plain(bool),
        trigname: text,
        relation: node(RangeVar),
        funcname: list,
        args: list,
        pub row: plain(bool),
        pub timing: plain(i16),
        pub events: plain(i16),
        columns: list,
        when_clause: any,
        transition_rels: list,
        pub deferrable: plain(bool),
        pub initdeferred: plain(bool),
        constrrel: node(RangeVar),
    }

    CreateEventTrigStmt = 182 {
        trigname: text,
        eventname: text,
        whenclause: list,
        funcname: list,
    }

    AlterEventTrigStmt = 183 {
        trigname: text,
        pub tgenabled: plain(u8),
    }

    CreatePLangStmt = 184 {
        pub replace: plain(bool),
        plname: text,
        plhandler: list,
        plinline: list,
        plvalidator: list,
        pub pltrusted: plain(bool),
    }

    CreateRoleStmt = 185 {
        pub stmt_type: plain(RoleStmtType::Type),
        role: text,
        options: list,
    }

    AlterRoleStmt = 186 {
        role: node(RoleSpec),
        options: list,
        pub action: plain(i32),
    }

    AlterRoleSetStmt = 187 {
        role: node(RoleSpec),
        database: text,
        setstmt: node(VariableSetStmt),
    }

    DropRoleStmt = 188 {
        roles: list,
        pub missing_ok: plain(bool),
    }

    CreateSeqStmt = 189 {
        sequence: node(RangeVar),
        options: list,
        pub owner_id: plain(u32),
        pub for_identity: plain(bool),
        pub if_not_exists: plain(bool),
    }

    AlterSeqStmt = 190 {
        sequence: node(RangeVar),
        options: list,
        pub for_identity: plain(bool),
        pub missing_ok: plain(bool),
    }

    DefineStmt = 191 {
        pub kind: plain(ObjectType::Type),
        pub oldstyle: plain(bool),
        defnames: list,
        args: list,
        definition: list,
        pub if_not_exists: plain(bool),
        pub replace: plain(bool),
    }

    CreateDomainStmt = 192 {
        domainname: list,
        type_name: node(TypeName),
        coll_clause: node(CollateClause),
        constraints: list,
    }

    CreateOpClassStmt = 193 {
        opclassname: list,
        opfamilyname: list,
        amname: text,
        datatype: node(TypeName),
        items: list,
        pub is_default: plain(bool),
    }

    CreateOpClassItem = 194 {
        pub itemtype: plain(i32),
        name: node(ObjectWithArgs),
        pub number: plain(i32),
        order_family: list,
        class_args: list,
        storedtype: node(TypeName),
    }

    CreateOpFamilyStmt = 195 {
        opfamilyname: list,
        amname: text,
    }

    AlterOpFamilyStmt = 196 {
        opfamilyname: list,
        amname: text,
        pub is_drop: plain(bool),
        items: list,
    }

    DropStmt = 197 {
        objects: list,
        pub remove_type: plain(ObjectType::Type),
        pub behavior: plain(DropBehavior::Type),
        pub missing_ok: plain(bool),
        pub concurrent: plain(bool),
    }

    TruncateStmt = 198 {
        relations: list,
        pub restart_seqs: plain(bool),
        pub behavior: plain(DropBehavior::Type),
    }

    CommentStmt = 199 {
        pub objtype: plain(ObjectType::Type),
        object: any,
        comment: text,
    }

    SecLabelStmt = 200 {
        pub objtype: plain(ObjectType::Type),
        object: any,
        provider: text,
        label: text,
    }

    DeclareCursorStmt = 201 {
        portalname: text,
        pub options: plain(i32),
        query: any,
    }

    ClosePortalStmt = 202 {
        portalname: text,
    }

    FetchStmt = 203 {
        pub direction: plain(FetchDirection::Type),
        pub how_many: plain(std::ffi::c_long),
        portalname: text,
        pub ismove: plain(bool),
    }

    IndexStmt = 204 {
        idxname: text,
        relation: node(RangeVar),
        access_method: text,
        table_space: text,
        index_params: list,
        index_including_params: list,
        options: list,
        where_clause: any,
        exclude_op_names: list,
        idxcomment: text,
        pub index_oid: plain(u32),
        pub old_number: plain(u32),
        pub old_create_subid: plain(u32),
        pub old_first_relfilelocator_subid: plain(u32),
        pub unique: plain(bool),
        pub nulls_not_distinct: plain(bool),
        pub primary: plain(bool),
        pub isconstraint: plain(bool),
        pub iswithoutoverlaps: plain(bool),
        pub deferrable: plain(bool),
        pub initdeferred: plain(bool),
        pub transformed: plain(bool),
        pub concurrent: plain(bool),
        pub if_not_exists: plain(bool),
        pub reset_default_tblspc: plain(bool),
    }

    CreateStatsStmt = 205 {
        defnames: list,
        stat_types: list,
        exprs: list,
        relations: list,
        stxcomment: text,
        pub transformed: plain(bool),
        pub if_not_exists: plain(bool),
    }

    StatsElem = 206 {
        name: text,
        expr: any,
    }

    AlterStatsStmt = 207 {
        defnames: list,
        stxstattarget: any,
        pub missing_ok: plain(bool),
    }

    CreateFunctionStmt = 208 {
        pub is_procedure: plain(bool),
        pub replace: plain(bool),
        funcname: list,
        parameters: list,
        return_type: node(TypeName),
        options: list,
        sql_body: any,
    }

    FunctionParameter = 209 {
        name: text,
        arg_type: node(TypeName),
        pub mode: plain(FunctionParameterMode::Type),
        defexpr: any,
        pub location: plain(i32),
    }

    AlterFunctionStmt = 210 {
        pub objtype: plain(ObjectType::Type),
        func: node(ObjectWithArgs),
        actions: list,
    }

    DoStmt = 211 {
        args: list,
    }

    InlineCodeBlock = 212 {
        source_text: text,
        pub lang_oid: plain(u32),
        pub lang_is_trusted: plain(bool),
        pub atomic: plain(bool),
    }

    CallStmt = 213 {
        funccall: node(FuncCall),
        funcexpr: node(FuncExpr),
        outargs: list,
    }

    CallContext = 214 {
        pub atomic: plain(bool),
    }

    RenameStmt = 215 {
        pub rename_type: plain(ObjectType::Type),
        pub relation_type: plain(ObjectType::Type),
        relation: node(RangeVar),
        object: any,
        subname: text,
        newname: text,
        pub behavior: plain(DropBehavior::Type),
        pub missing_ok: plain(bool),
    }

    AlterObjectDependsStmt = 216 {
        pub object_type: plain(ObjectType::Type),
        relation: node(RangeVar),
        object: any,
        extname: node(String),
        pub remove: plain(bool),
    }

    AlterObjectSchemaStmt = 217 {
        pub object_type: plain(ObjectType::Type),
        relation: node(RangeVar),
        object: any,
        newschema: text,
        pub missing_ok: plain(bool),
    }

    AlterOwnerStmt = 218 {
        pub object_type: plain(ObjectType::Type),
        relation: node(RangeVar),
        object: any,
        newowner: node(RoleSpec),
    }

    AlterOperatorStmt = 219 {
        opername: node(ObjectWithArgs),
        options: list,
    }

    AlterTypeStmt = 220 {
        type_name: list,
        options: list,
    }

    RuleStmt = 221 {
        relation: node(RangeVar),
        rulename: text,
        where_clause: any,
        pub event: plain(CmdType::Type),
        pub instead: plain(bool),
        actions: list,
        pub replace: plain(bool),
    }

    NotifyStmt = 222 {
        conditionname: text,
        payload: text,
    }

    ListenStmt = 223 {
        conditionname: text,
    }

    UnlistenStmt = 224 {
        conditionname: text,
    }

    TransactionStmt = 225 {
        pub kind: plain(TransactionStmtKind::Type),
        options: list,
        savepoint_name: text,
        gid: text,
        pub chain: plain(bool),
        pub location: plain(i32),
    }

    CompositeTypeStmt = 226 {
        typevar: node(RangeVar),
        coldeflist: list,
    }

    CreateEnumStmt = 227 {
        type_name: list,
        vals: list,
    }

    CreateRangeStmt = 228 {
        type_name: list,
        params: list,
    }

    AlterEnumStmt = 229 {
        type_name: list,
        old_val: text,
        new_val: text,
        new_val_neighbor: text,
        pub new_val_is_after: plain(bool),
        pub skip_if_new_val_exists: plain(bool),
    }

    ViewStmt = 230 {
        view: node(RangeVar),
        aliases: list,
        query: any,
        pub replace: plain(bool),
        options: list,
        pub with_check_option: plain(ViewCheckOption::Type),
    }

    LoadStmt = 231 {
        filename: text,
    }

    CreatedbStmt = 232 {
        dbname: text,
        options: list,
    }

    AlterDatabaseStmt = 233 {
        dbname: text,
        options: list,
    }

    AlterDatabaseRefreshCollStmt = 234 {
        dbname: text,
    }

    AlterDatabaseSetStmt = 235 {
        dbname: text,
        setstmt: node(VariableSetStmt),
    }

    DropdbStmt = 236 {
        dbname: text,
        pub missing_ok: plain(bool),
        options: list,
    }

    AlterSystemStmt = 237 {
        setstmt: node(VariableSetStmt),
    }

    ClusterStmt = 238 {
        relation: node(RangeVar),
        indexname: text,
        params: list,
    }

    VacuumStmt = 239 {
        options: list,
        rels: list,
        pub is_vacuumcmd: plain(bool),
    }

    VacuumRelation = 240 {
        relation: node(RangeVar),
        pub oid: plain(u32),
        va_cols: list,
    }

    ExplainStmt = 241 {
        query: any,
        options: list,
    }

    CreateTableAsStmt = 242 {
        query: any,
        into: node(IntoClause),
        pub objtype: plain(ObjectType::Type),
        pub is_select_into: plain(bool),
        pub if_not_exists: plain(bool),
    }

    RefreshMatViewStmt = 243 {
        pub concurrent: plain(bool),
        pub skip_data: plain(bool),
        relation: node(RangeVar),
    }

    CheckPointStmt = 244 {
    }

    DiscardStmt = 245 {
        pub target: plain(DiscardMode::Type),
    }

    LockStmt = 246 {
        relations: list,
        pub mode: plain(i32),
        pub nowait: plain(bool),
    }

    ConstraintsSetStmt = 247 {
        constraints: list,
        pub deferred: plain(bool),
    }

    ReindexStmt = 248 {
        pub kind: plain(ReindexObjectType::Type),
        relation: node(RangeVar),
        name: text,
        params: list,
    }

    CreateConversionStmt = 249 {
        conversion_name: list,
        for_encoding_name: text,
        to_encoding_name: text,
        func_name: list,
        pub def: plain(bool),
    }

    CreateCastStmt = 250 {
        sourcetype: node(TypeName),
        targettype: node(TypeName),
        func: node(ObjectWithArgs),
        pub context: plain(CoercionContext::Type),
        pub inout: plain(bool),
    }

    CreateTransformStmt = 251 {
        pub replace: plain(bool),
        type_name: node(TypeName),
        lang: text,
        fromsql: node(ObjectWithArgs),
        tosql: node(ObjectWithArgs),
    }

    PrepareStmt = 252 {
        name: text,
        argtypes: list,
        query: any,
    }

    ExecuteStmt = 253 {
        name: text,
        params: list,
    }

    DeallocateStmt = 254 {
        name: text,
        pub isall: plain(bool),
        pub location: plain(i32),
    }

    DropOwnedStmt = 255 {
        roles: list,
        pub behavior: plain(DropBehavior::Type),
    }

    ReassignOwnedStmt = 256 {
        roles: list,
        newrole: node(RoleSpec),
    }

    AlterTSDictionaryStmt = 257 {
        dictname: list,
        options: list,
    }

    AlterTSConfigurationStmt = 258 {
        pub kind: plain(AlterTSConfigType::Type),
        cfgname: list,
        tokentype: list,
        dicts: list,
        pub override_: plain(bool),
        pub replace: plain(bool),
        pub missing_ok: plain(bool),
    }

    PublicationTable = 259 {
        relation: node(RangeVar),
        where_clause: any,
        columns: list,
    }

    PublicationObjSpec = 260 {
        pub pubobjtype: plain(PublicationObjSpecType::Type),
        name: text,
        pubtable: node(PublicationTable),
        pub location: plain(i32),
    }

    CreatePublicationStmt = 261 {
        pubname: text,
        options: list,
        pubobjects: list,
        pub for_all_tables: plain(bool),
    }

    AlterPublicationStmt = 262 {
        pubname: text,
        options: list,
        pubobjects: list,
        pub for_all_tables: plain(bool),
        pub action: plain(AlterPublicationAction::Type),
    }

    CreateSubscriptionStmt = 263 {
        subname: text,
        conninfo: text,
        publication: list,
        options: list,
    }

    AlterSubscriptionStmt = 264 {
        pub kind: plain(AlterSubscriptionType::Type),
        subname: text,
        conninfo: text,
        publication: list,
        options: list,
    }

    DropSubscriptionStmt = 265 {
        subname: text,
        pub missing_ok: plain(bool),
        pub behavior: plain(DropBehavior::Type),
    }

    Integer = 465 {
        pub ival: plain(i32),
    }

    Float = 466 {
        fval: text,
    }

    Boolean = 467 {
        pub boolval: plain(bool),
    }

    String = 468 {
        sval: text,
    }

    BitString = 469 {
        bsval: text,
    }
}

enums! {
    A_Expr_Kind: u32 {
        AEXPR_OP = 0,
        AEXPR_OP_ANY = 1,
        AEXPR_OP_ALL = 2,
        AEXPR_DISTINCT = 3,
        AEXPR_NOT_DISTINCT = 4,
        AEXPR_NULLIF = 5,
        AEXPR_IN = 6,
        AEXPR_LIKE = 7,
        AEXPR_ILIKE = 8,
        AEXPR_SIMILAR = 9,
        AEXPR_BETWEEN = 10,
        AEXPR_NOT_BETWEEN = 11,
        AEXPR_BETWEEN_SYM = 12,
        AEXPR_NOT_BETWEEN_SYM = 13,
    }

    AggSplit: u32 {
        AGGSPLIT_SIMPLE = 0,
        AGGSPLIT_INITIAL_SERIAL = 6,
        AGGSPLIT_FINAL_DESERIAL = 9,
    }

    AlterPublicationAction: u32 {
        AP_AddObjects = 0,
        AP_DropObjects = 1,
        AP_SetObjects = 2,
    }

    AlterSubscriptionType: u32 {
        ALTER_SUBSCRIPTION_OPTIONS = 0,
        ALTER_SUBSCRIPTION_CONNECTION = 1,
        ALTER_SUBSCRIPTION_SET_PUBLICATION = 2,
        ALTER_SUBSCRIPTION_ADD_PUBLICATION = 3,
        ALTER_SUBSCRIPTION_DROP_PUBLICATION = 4,
        ALTER_SUBSCRIPTION_REFRESH = 5,
        ALTER_SUBSCRIPTION_ENABLED = 6,
        ALTER_SUBSCRIPTION_SKIP = 7,
    }

    AlterTSConfigType: u32 {
        ALTER_TSCONFIG_ADD_MAPPING = 0,
        ALTER_TSCONFIG_ALTER_MAPPING_FOR_TOKEN = 1,
        ALTER_TSCONFIG_REPLACE_DICT = 2,
        ALTER_TSCONFIG_REPLACE_DICT_FOR_TOKEN = 3,
        ALTER_TSCONFIG_DROP_MAPPING = 4,
    }

    AlterTableType: u32 {
        AT_AddColumn = 0,
        AT_AddColumnToView = 1,
        AT_ColumnDefault = 2,
        AT_CookedColumnDefault = 3,
        AT_DropNotNull = 4,
        AT_SetNotNull = 5,
        AT_SetExpression = 6,
        AT_DropExpression = 7,
        AT_SetStatistics = 8,
        AT_SetOptions = 9,
        AT_ResetOptions = 10,
        AT_SetStorage = 11,
        AT_SetCompression = 12,
        AT_DropColumn = 13,
        AT_AddIndex = 14,
        AT_ReAddIndex = 15,
        AT_AddConstraint = 16,
        AT_ReAddConstraint = 17,
        AT_ReAddDomainConstraint = 18,
        AT_AlterConstraint = 19,
        AT_ValidateConstraint = 20,
        AT_AddIndexConstraint = 21,
        AT_DropConstraint = 22,
        AT_ReAddComment = 23,
        AT_AlterColumnType = 24,
        AT_AlterColumnGenericOptions = 25,
        AT_ChangeOwner = 26,
        AT_ClusterOn = 27,
        AT_DropCluster = 28,
        AT_SetLogged = 29,
        AT_SetUnLogged = 30,
        AT_DropOids = 31,
        AT_SetAccessMethod = 32,
        AT_SetTableSpace = 33,
        AT_SetRelOptions = 34,
        AT_ResetRelOptions = 35,
        AT_ReplaceRelOptions = 36,
        AT_EnableTrig = 37,
        AT_EnableAlwaysTrig = 38,
        AT_EnableReplicaTrig = 39,
        AT_DisableTrig = 40,
        AT_EnableTrigAll = 41,
        AT_DisableTrigAll = 42,
        AT_EnableTrigUser = 43,
        AT_DisableTrigUser = 44,
        AT_EnableRule = 45,
        AT_EnableAlwaysRule = 46,
        AT_EnableReplicaRule = 47,
        AT_DisableRule = 48,
        AT_AddInherit = 49,
        AT_DropInherit = 50,
        AT_AddOf = 51,
        AT_DropOf = 52,
        AT_ReplicaIdentity = 53,
        AT_EnableRowSecurity = 54,
        AT_DisableRowSecurity = 55,
        AT_ForceRowSecurity = 56,
        AT_NoForceRowSecurity = 57,
        AT_GenericOptions = 58,
        AT_AttachPartition = 59,
        AT_DetachPartition = 60,
        AT_DetachPartitionFinalize = 61,
        AT_AddIdentity = 62,
        AT_SetIdentity = 63,
        AT_DropIdentity = 64,
        AT_ReAddStatistics = 65,
    }

    BoolExprType: u32 {
        AND_EXPR = 0,
        OR_EXPR = 1,
        NOT_EXPR = 2,
    }

    BoolTestType: u32 {
        IS_TRUE = 0,
        IS_NOT_TRUE = 1,
        IS_FALSE = 2,
        IS_NOT_FALSE = 3,
        IS_UNKNOWN = 4,
        IS_NOT_UNKNOWN = 5,
    }

    CTEMaterialize: u32 {
        CTEMaterializeDefault = 0,
        CTEMaterializeAlways = 1,
        CTEMaterializeNever = 2,
    }

    CmdType: u32 {
        CMD_UNKNOWN = 0,
        CMD_SELECT = 1,
        CMD_UPDATE = 2,
        CMD_INSERT = 3,
        CMD_DELETE = 4,
        CMD_MERGE = 5,
        CMD_UTILITY = 6,
        CMD_NOTHING = 7,
    }

    CoercionContext: u32 {
        COERCION_IMPLICIT = 0,
        COERCION_ASSIGNMENT = 1,
        COERCION_PLPGSQL = 2,
        COERCION_EXPLICIT = 3,
    }

    CoercionForm: u32 {
        COERCE_EXPLICIT_CALL = 0,
        COERCE_EXPLICIT_CAST = 1,
        COERCE_IMPLICIT_CAST = 2,
        COERCE_SQL_SYNTAX = 3,
    }

    CompareType: u32 {
        COMPARE_INVALID = 0,
        COMPARE_LT = 1,
        COMPARE_LE = 2,
        COMPARE_EQ = 3,
        COMPARE_GE = 4,
        COMPARE_GT = 5,
        COMPARE_NE = 6,
        COMPARE_OVERLAP = 7,
        COMPARE_CONTAINED_BY = 8,
    }

    ConstrType: u32 {
        CONSTR_NULL = 0,
        CONSTR_NOTNULL = 1,
        CONSTR_DEFAULT = 2,
        CONSTR_IDENTITY = 3,
        CONSTR_GENERATED = 4,
        CONSTR_CHECK = 5,
        CONSTR_PRIMARY = 6,
        CONSTR_UNIQUE = 7,
        CONSTR_EXCLUSION = 8,
        CONSTR_FOREIGN = 9,
        CONSTR_ATTR_DEFERRABLE = 10,
        CONSTR_ATTR_NOT_DEFERRABLE = 11,
        CONSTR_ATTR_DEFERRED = 12,
        CONSTR_ATTR_IMMEDIATE = 13,
        CONSTR_ATTR_ENFORCED = 14,
        CONSTR_ATTR_NOT_ENFORCED = 15,
    }

    DefElemAction: u32 {
        DEFELEM_UNSPEC = 0,
        DEFELEM_SET = 1,
        DEFELEM_ADD = 2,
        DEFELEM_DROP = 3,
    }

    DiscardMode: u32 {
        DISCARD_ALL = 0,
        DISCARD_PLANS = 1,
        DISCARD_SEQUENCES = 2,
        DISCARD_TEMP = 3,
    }

    DropBehavior: u32 {
        DROP_RESTRICT = 0,
        DROP_CASCADE = 1,
    }

    FetchDirection: u32 {
        FETCH_FORWARD = 0,
        FETCH_BACKWARD = 1,
        FETCH_ABSOLUTE = 2,
        FETCH_RELATIVE = 3,
    }

    FunctionParameterMode: u32 {
        FUNC_PARAM_IN = 105,
        FUNC_PARAM_OUT = 111,
        FUNC_PARAM_INOUT = 98,
        FUNC_PARAM_VARIADIC = 118,
        FUNC_PARAM_TABLE = 116,
        FUNC_PARAM_DEFAULT = 100,
    }

    GrantTargetType: u32 {
        ACL_TARGET_OBJECT = 0,
        ACL_TARGET_ALL_IN_SCHEMA = 1,
        ACL_TARGET_DEFAULTS = 2,
    }

    GroupingSetKind: u32 {
        GROUPING_SET_EMPTY = 0,
        GROUPING_SET_SIMPLE = 1,
        GROUPING_SET_ROLLUP = 2,
        GROUPING_SET_CUBE = 3,
        GROUPING_SET_SETS = 4,
    }

    ImportForeignSchemaType: u32 {
        FDW_IMPORT_SCHEMA_ALL = 0,
        FDW_IMPORT_SCHEMA_LIMIT_TO = 1,
        FDW_IMPORT_SCHEMA_EXCEPT = 2,
    }

    JoinType: u32 {
        JOIN_INNER = 0,
        JOIN_LEFT = 1,
        JOIN_FULL = 2,
        JOIN_RIGHT = 3,
        JOIN_SEMI = 4,
        JOIN_ANTI = 5,
        JOIN_RIGHT_SEMI = 6,
        JOIN_RIGHT_ANTI = 7,
        JOIN_UNIQUE_OUTER = 8,
        JOIN_UNIQUE_INNER = 9,
    }

    JsonBehaviorType: u32 {
        JSON_BEHAVIOR_NULL = 0,
        JSON_BEHAVIOR_ERROR = 1,
        JSON_BEHAVIOR_EMPTY = 2,
        JSON_BEHAVIOR_TRUE = 3,
        JSON_BEHAVIOR_FALSE = 4,
        JSON_BEHAVIOR_UNKNOWN = 5,
        JSON_BEHAVIOR_EMPTY_ARRAY = 6,
        JSON_BEHAVIOR_EMPTY_OBJECT = 7,
        JSON_BEHAVIOR_DEFAULT = 8,
    }

    JsonConstructorType: u32 {
        JSCTOR_JSON_OBJECT = 1,
        JSCTOR_JSON_ARRAY = 2,
        JSCTOR_JSON_OBJECTAGG = 3,
        JSCTOR_JSON_ARRAYAGG = 4,
        JSCTOR_JSON_PARSE = 5,
        JSCTOR_JSON_SCALAR = 6,
        JSCTOR_JSON_SERIALIZE = 7,
    }

    JsonEncoding: u32 {
        JS_ENC_DEFAULT = 0,
        JS_ENC_UTF8 = 1,
        JS_ENC_UTF16 = 2,
        JS_ENC_UTF32 = 3,
    }

    JsonExprOp: u32 {
        JSON_EXISTS_OP = 0,
        JSON_QUERY_OP = 1,
        JSON_VALUE_OP = 2,
        JSON_TABLE_OP = 3,
    }

    JsonFormatType: u32 {
        JS_FORMAT_DEFAULT = 0,
        JS_FORMAT_JSON = 1,
        JS_FORMAT_JSONB = 2,
    }

    JsonQuotes: u32 {
        JS_QUOTES_UNSPEC = 0,
        JS_QUOTES_KEEP = 1,
        JS_QUOTES_OMIT = 2,
    }

    JsonTableColumnType: u32 {
        JTC_FOR_ORDINALITY = 0,
        JTC_REGULAR = 1,
        JTC_EXISTS = 2,
        JTC_FORMATTED = 3,
        JTC_NESTED = 4,
    }

    JsonValueType: u32 {
        JS_TYPE_ANY = 0,
        JS_TYPE_OBJECT = 1,
        JS_TYPE_ARRAY = 2,
        JS_TYPE_SCALAR = 3,
    }

    JsonWrapper: u32 {
        JSW_UNSPEC = 0,
        JSW_NONE = 1,
        JSW_CONDITIONAL = 2,
        JSW_UNCONDITIONAL = 3,
    }

    LimitOption: u32 {
        LIMIT_OPTION_DEFAULT = 0,
        LIMIT_OPTION_COUNT = 1,
        LIMIT_OPTION_WITH_TIES = 2,
    }

    LockClauseStrength: u32 {
        LCS_NONE = 0,
        LCS_FORKEYSHARE = 1,
        LCS_FORSHARE = 2,
        LCS_FORNOKEYUPDATE = 3,
        LCS_FORUPDATE = 4,
    }

    LockWaitPolicy: u32 {
        LockWaitBlock = 0,
        LockWaitSkip = 1,
        LockWaitError = 2,
    }

    MergeMatchKind: u32 {
        MERGE_WHEN_MATCHED = 0,
        MERGE_WHEN_NOT_MATCHED_BY_SOURCE = 1,
        MERGE_WHEN_NOT_MATCHED_BY_TARGET = 2,
    }

    MinMaxOp: u32 {
        IS_GREATEST = 0,
        IS_LEAST = 1,
    }

    NullTestType: u32 {
        IS_NULL = 0,
        IS_NOT_NULL = 1,
    }

    ObjectType: u32 {
        OBJECT_ACCESS_METHOD = 0,
        OBJECT_AGGREGATE = 1,
        OBJECT_AMOP = 2,
        OBJECT_AMPROC = 3,
        OBJECT_ATTRIBUTE = 4,
        OBJECT_CAST = 5,
        OBJECT_COLUMN = 6,
        OBJECT_COLLATION = 7,
        OBJECT_CONVERSION = 8,
        OBJECT_DATABASE = 9,
        OBJECT_DEFAULT = 10,
        OBJECT_DEFACL = 11,
        OBJECT_DOMAIN = 12,
        OBJECT_DOMCONSTRAINT = 13,
        OBJECT_EVENT_TRIGGER = 14,
        OBJECT_EXTENSION = 15,
        OBJECT_FDW = 16,
        OBJECT_FOREIGN_SERVER = 17,
        OBJECT_FOREIGN_TABLE = 18,
        OBJECT_FUNCTION = 19,
        OBJECT_INDEX = 20,
        OBJECT_LANGUAGE = 21,
        OBJECT_LARGEOBJECT = 22,
        OBJECT_MATVIEW = 23,
        OBJECT_OPCLASS = 24,
        OBJECT_OPERATOR = 25,
        OBJECT_OPFAMILY = 26,
        OBJECT_PARAMETER_ACL = 27,
        OBJECT_POLICY = 28,
        OBJECT_PROCEDURE = 29,
        OBJECT_PUBLICATION = 30,
        OBJECT_PUBLICATION_NAMESPACE = 31,
        OBJECT_PUBLICATION_REL = 32,
        OBJECT_ROLE = 33,
        OBJECT_ROUTINE = 34,
        OBJECT_RULE = 35,
        OBJECT_SCHEMA = 36,
        OBJECT_SEQUENCE = 37,
        OBJECT_SUBSCRIPTION = 38,
        OBJECT_STATISTIC_EXT = 39,
        OBJECT_TABCONSTRAINT = 40,
        OBJECT_TABLE = 41,
        OBJECT_TABLESPACE = 42,
        OBJECT_TRANSFORM = 43,
        OBJECT_TRIGGER = 44,
        OBJECT_TSCONFIGURATION = 45,
        OBJECT_TSDICTIONARY = 46,
        OBJECT_TSPARSER = 47,
        OBJECT_TSTEMPLATE = 48,
        OBJECT_TYPE = 49,
        OBJECT_USER_MAPPING = 50,
        OBJECT_VIEW = 51,
    }

    OnCommitAction: u32 {
        ONCOMMIT_NOOP = 0,
        ONCOMMIT_PRESERVE_ROWS = 1,
        ONCOMMIT_DELETE_ROWS = 2,
        ONCOMMIT_DROP = 3,
    }

    OnConflictAction: u32 {
        ONCONFLICT_NONE = 0,
        ONCONFLICT_NOTHING = 1,
        ONCONFLICT_UPDATE = 2,
    }

    OverridingKind: u32 {
        OVERRIDING_NOT_SET = 0,
        OVERRIDING_USER_VALUE = 1,
        OVERRIDING_SYSTEM_VALUE = 2,
    }

    ParamKind: u32 {
        PARAM_EXTERN = 0,
        PARAM_EXEC = 1,
        PARAM_SUBLINK = 2,
        PARAM_MULTIEXPR = 3,
    }

    PartitionRangeDatumKind: i32 {
        PARTITION_RANGE_DATUM_MINVALUE = -1,
        PARTITION_RANGE_DATUM_VALUE = 0,
        PARTITION_RANGE_DATUM_MAXVALUE = 1,
    }

    PartitionStrategy: u32 {
        PARTITION_STRATEGY_LIST = 108,
        PARTITION_STRATEGY_RANGE = 114,
        PARTITION_STRATEGY_HASH = 104,
    }

    PublicationObjSpecType: u32 {
        PUBLICATIONOBJ_TABLE = 0,
        PUBLICATIONOBJ_TABLES_IN_SCHEMA = 1,
        PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA = 2,
        PUBLICATIONOBJ_CONTINUATION = 3,
    }

    QuerySource: u32 {
        QSRC_ORIGINAL = 0,
        QSRC_PARSER = 1,
        QSRC_INSTEAD_RULE = 2,
        QSRC_QUAL_INSTEAD_RULE = 3,
        QSRC_NON_INSTEAD_RULE = 4,
    }

    RTEKind: u32 {
        RTE_RELATION = 0,
        RTE_SUBQUERY = 1,
        RTE_JOIN = 2,
        RTE_FUNCTION = 3,
        RTE_TABLEFUNC = 4,
        RTE_VALUES = 5,
        RTE_CTE = 6,
        RTE_NAMEDTUPLESTORE = 7,
        RTE_RESULT = 8,
        RTE_GROUP = 9,
    }

    ReindexObjectType: u32 {
        REINDEX_OBJECT_INDEX = 0,
        REINDEX_OBJECT_TABLE = 1,
        REINDEX_OBJECT_SCHEMA = 2,
        REINDEX_OBJECT_SYSTEM = 3,
        REINDEX_OBJECT_DATABASE = 4,
    }

    ReturningOptionKind: u32 {
        RETURNING_OPTION_OLD = 0,
        RETURNING_OPTION_NEW = 1,
    }

    RoleSpecType: u32 {
        ROLESPEC_CSTRING = 0,
        ROLESPEC_CURRENT_ROLE = 1,
        ROLESPEC_CURRENT_USER = 2,
        ROLESPEC_SESSION_USER = 3,
        ROLESPEC_PUBLIC = 4,
    }

    RoleStmtType: u32 {
        ROLESTMT_ROLE = 0,
        ROLESTMT_USER = 1,
        ROLESTMT_GROUP = 2,
    }

    SQLValueFunctionOp: u32 {
        SVFOP_CURRENT_DATE = 0,
        SVFOP_CURRENT_TIME = 1,
        SVFOP_CURRENT_TIME_N = 2,
        SVFOP_CURRENT_TIMESTAMP = 3,
        SVFOP_CURRENT_TIMESTAMP_N = 4,
        SVFOP_LOCALTIME = 5,
        SVFOP_LOCALTIME_N = 6,
        SVFOP_LOCALTIMESTAMP = 7,
        SVFOP_LOCALTIMESTAMP_N = 8,
        SVFOP_CURRENT_ROLE = 9,
        SVFOP_CURRENT_USER = 10,
        SVFOP_USER = 11,
        SVFOP_SESSION_USER = 12,
        SVFOP_CURRENT_CATALOG = 13,
        SVFOP_CURRENT_SCHEMA = 14,
    }

    SetOperation: u32 {
        SETOP_NONE = 0,
        SETOP_UNION = 1,
        SETOP_INTERSECT = 2,
        SETOP_EXCEPT = 3,
    }

    SortByDir: u32 {
        SORTBY_DEFAULT = 0,
        SORTBY_ASC = 1,
        SORTBY_DESC = 2,
        SORTBY_USING = 3,
    }

    SortByNulls: u32 {
        SORTBY_NULLS_DEFAULT = 0,
        SORTBY_NULLS_FIRST = 1,
        SORTBY_NULLS_LAST = 2,
    }

    SubLinkType: u32 {
        EXISTS_SUBLINK = 0,
        ALL_SUBLINK = 1,
        ANY_SUBLINK = 2,
        ROWCOMPARE_SUBLINK = 3,
        EXPR_SUBLINK = 4,
        MULTIEXPR_SUBLINK = 5,
        ARRAY_SUBLINK = 6,
        CTE_SUBLINK = 7,
    }

    TableFuncType: u32 {
        TFT_XMLTABLE = 0,
        TFT_JSON_TABLE = 1,
    }

    TransactionStmtKind: u32 {
        TRANS_STMT_BEGIN = 0,
        TRANS_STMT_START = 1,
        TRANS_STMT_COMMIT = 2,
        TRANS_STMT_ROLLBACK = 3,
        TRANS_STMT_SAVEPOINT = 4,
        TRANS_STMT_RELEASE = 5,
        TRANS_STMT_ROLLBACK_TO = 6,
        TRANS_STMT_PREPARE = 7,
        TRANS_STMT_COMMIT_PREPARED = 8,
        TRANS_STMT_ROLLBACK_PREPARED = 9,
    }

    VarReturningType: u32 {
        VAR_RETURNING_DEFAULT = 0,
        VAR_RETURNING_OLD = 1,
        VAR_RETURNING_NEW = 2,
    }

    VariableSetKind: u32 {
        VAR_SET_VALUE = 0,
        VAR_SET_DEFAULT = 1,
        VAR_SET_CURRENT = 2,
        VAR_SET_MULTI = 3,
        VAR_RESET = 4,
        VAR_RESET_ALL = 5,
    }

    ViewCheckOption: u32 {
        NO_CHECK_OPTION = 0,
        LOCAL_CHECK_OPTION = 1,
        CASCADED_CHECK_OPTION = 2,
    }

    WCOKind: u32 {
        WCO_VIEW_CHECK = 0,
        WCO_RLS_INSERT_CHECK = 1,
        WCO_RLS_UPDATE_CHECK = 2,
        WCO_RLS_CONFLICT_CHECK = 3,
        WCO_RLS_MERGE_UPDATE_CHECK = 4,
        WCO_RLS_MERGE_DELETE_CHECK = 5,
    }

    XmlExprOp: u32 {
        IS_XMLCONCAT = 0,
        IS_XMLELEMENT = 1,
        IS_XMLFOREST = 2,
        IS_XMLPARSE = 3,
        IS_XMLPI = 4,
        IS_XMLROOT = 5,
        IS_XMLSERIALIZE = 6,
        IS_DOCUMENT = 7,
    }

    XmlOptionType: u32 {
        XMLOPTION_DOCUMENT = 0,
        XMLOPTION_CONTENT = 1,
    }
}
