"""Which functions a statement may call and still be a read that any hot standby can run.

Only functions of ``pg_catalog`` are listed, by the names a server of version 14 to 18 knows. A name is left out if it
writes or takes sequence values (``nextval``, ``txid_current``), changes the session (``set_config``, ``setseed``,
``pg_export_snapshot``, advisory locks), acts on the server (``pg_notify``, ``pg_cancel_backend``, ``pg_switch_wal``),
runs SQL given as text (``query_to_xml``, ``ts_stat``), fails during recovery (``pg_current_wal_lsn``), or answers for
one server or one session alone (``pg_stat_get_*``, ``currval``, ``lo_*``).
"""

from __future__ import annotations

_AGGREGATES_AND_WINDOWS = """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp cume_dist dense_rank
    every first_value grouping json_agg json_agg_strict json_arrayagg json_objectagg json_object_agg
    json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict jsonb_agg jsonb_agg_strict
    jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict lag last_value lead
    max min mode nth_value ntile percent_rank percentile_cont percentile_disc range_agg range_intersect_agg rank
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number stddev
    stddev_pop stddev_samp string_agg sum var_pop var_samp variance xmlagg
"""
_NUMBERS = """
    abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd cosh cot cotd degrees
    div erf erfc exp factorial floor gamma gcd lcm lgamma ln log log10 min_scale mod pi pow power radians random
    random_normal round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc width_bucket
"""
_TEXT_AND_BYTES = """
    ascii bit_count bit_length btrim casefold char_length character_length chr concat concat_ws convert convert_from
    convert_to crc32 crc32c decode encode format get_bit get_byte initcap is_normalized left length like like_escape
    lower lpad ltrim md5 normalize octet_length overlay parse_ident position quote_ident quote_literal quote_nullable
    regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim set_bit set_byte sha224 sha256 sha384
    sha512 split_part starts_with string_to_array string_to_table strpos substr substring to_ascii to_bin to_hex to_oct
    translate trim unistr upper
"""
_TIME = """
    age clock_timestamp date_add date_bin date_part date_subtract date_trunc extract isfinite justify_days justify_hours
    justify_interval localtime localtimestamp current_time current_timestamp make_date make_interval make_time
    make_timestamp make_timestamptz now overlaps pg_sleep pg_sleep_for pg_sleep_until statement_timestamp timeofday
    timezone to_char to_date to_number to_timestamp transaction_timestamp
"""
_JSON = """
    array_to_json json_array json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_exists json_extract_path json_extract_path_text json_object
    json_object_keys json_populate_record json_populate_recordset json_query json_scalar json_serialize json_strip_nulls
    json_to_record json_to_recordset json_typeof json_value jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz
    jsonb_path_match jsonb_path_match_tz jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz
    jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset
    jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json
    to_json to_jsonb
"""
_ARRAYS_AND_RANGES = """
    array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_reverse array_sample array_shuffle array_sort array_to_string
    array_upper cardinality datemultirange daterange generate_series generate_subscripts int4multirange int4range
    int8multirange int8range isempty lower_inc lower_inf multirange nummultirange numrange range_merge trim_array
    tsmultirange tsrange tstzmultirange tstzrange unnest upper_inc upper_inf
"""
_SEARCH_AND_XML = """
    array_to_tsvector get_current_ts_config json_to_tsvector jsonb_to_tsvector numnode phraseto_tsquery plainto_tsquery
    querytree setweight strip to_tsquery to_tsvector ts_debug ts_delete ts_filter ts_headline ts_lexize ts_parse ts_rank
    ts_rank_cd ts_token_type tsquery_phrase tsvector_to_array websearch_to_tsquery xml_is_well_formed
    xml_is_well_formed_content xml_is_well_formed_document xmlcomment xmlconcat xmlelement xmlexists xmlforest xmlparse
    xmlpi xmlroot xmlserialize xmltable xmltext xpath xpath_exists
"""
_TYPES = """
    abbrev area bound_box box broadcast center circle diagonal diameter enum_first enum_last enum_range family
    gen_random_uuid hashtext hashtextextended height host hostmask inet_merge inet_same_family isclosed ishorizontal
    isopen isparallel isperp isvertical line lseg macaddr8_set7bit masklen netmask network npoints path pclose point
    polygon popen radius set_masklen slope uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7 width
    bool bpchar cidr date float4 float8 inet int2 int4 int8 interval macaddr money name numeric oid text timestamp
    timestamptz timetz varbit varchar bit char time
"""
_CATALOG = """
    acldefault aclexplode col_description current_catalog current_database current_query current_role current_schema
    current_schemas current_setting current_user format_type getdatabaseencoding has_any_column_privilege
    has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
    has_language_privilege has_largeobject_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege
    has_server_privilege has_table_privilege has_tablespace_privilege has_type_privilege inet_client_addr
    inet_client_port inet_server_addr inet_server_port makeaclitem mxid_age num_nonnulls num_nulls obj_description
    oidvectortypes pg_backend_pid pg_basetype pg_char_to_encoding pg_client_encoding pg_collation_for
    pg_collation_is_visible pg_column_compression pg_column_is_updatable pg_column_size pg_conf_load_time
    pg_conversion_is_visible pg_database_size pg_describe_object pg_encoding_max_length pg_encoding_to_char
    pg_filenode_relation pg_function_is_visible pg_get_acl pg_get_catalog_foreign_keys pg_get_constraintdef pg_get_expr
    pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments pg_get_function_result
    pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords pg_get_object_address
    pg_get_partition_constraintdef pg_get_partkeydef pg_get_publication_tables pg_get_replica_identity_index
    pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef pg_get_triggerdef pg_get_userbyid pg_get_viewdef
    pg_has_role pg_identify_object pg_identify_object_as_address pg_index_column_has_property pg_index_has_property
    pg_indexam_has_property pg_indexes_size pg_input_error_info pg_input_is_valid pg_is_in_recovery
    pg_is_wal_replay_paused pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lsn
    pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_options_to_table pg_partition_ancestors
    pg_partition_root pg_partition_tree pg_postmaster_start_time pg_relation_filenode pg_relation_filepath
    pg_relation_is_publishable pg_relation_is_updatable pg_relation_size pg_size_bytes pg_size_pretty
    pg_statistics_obj_is_visible pg_table_is_visible pg_table_size pg_tablespace_databases pg_tablespace_location
    pg_tablespace_size pg_timezone_abbrevs pg_timezone_names pg_total_relation_size pg_trigger_depth
    pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible
    pg_typeof pg_wal_lsn_diff row_security_active satisfies_hash_partition session_user shobj_description system_user
    to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole
    to_regtype to_regtypemod version
    getpgusername in_range json_table pg_column_toast_chunk_id pg_current_snapshot pg_current_xact_id_if_assigned
    pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_wait_events pg_is_other_temp_schema
    pg_jit_available pg_my_temp_schema pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_xact_commit_timestamp
    pg_xact_commit_timestamp_origin pg_xact_status txid_current_if_assigned txid_current_snapshot txid_status
"""
# Written like functions, but part of the language.
_EXPRESSIONS = "all any cast coalesce greatest least nullif row some"

READ_ONLY_FUNCTIONS = frozenset(
    " ".join(
        (
            _AGGREGATES_AND_WINDOWS,
            _NUMBERS,
            _TEXT_AND_BYTES,
            _TIME,
            _JSON,
            _ARRAYS_AND_RANGES,
            _SEARCH_AND_XML,
            _TYPES,
            _CATALOG,
            _EXPRESSIONS,
        )
    ).split()
)

_SYNTAX = """
    ALL AND ANY ARRAY AS BETWEEN BY CASE CROSS CUBE DISTINCT ELSE EXCEPT EXISTS FETCH FOR FROM FULL GROUP HAVING ILIKE
    IN INNER INTERSECT IS JOIN LATERAL LEFT LIKE LIMIT NOT OFFSET ON ONLY OR ORDER RIGHT ROLLUP SELECT SIMILAR SOME
    SYMMETRIC THEN TO UNION UNIQUE USING VALUES WHEN WHERE WINDOW WITH
    BIT BPCHAR CHAR CHARACTER DEC DECIMAL FLOAT INTERVAL NCHAR NUMERIC TIME TIMESTAMP TIMESTAMPTZ TIMETZ VARBIT VARCHAR
    VARYING
"""
# Words that may stand before "(" in a query without calling anything: clauses, operators and types.
SYNTAX_BEFORE_PARENTHESIS = frozenset(_SYNTAX.split())
# The same of words that are syntax only behind certain others; elsewhere they are names like any other.
SYNTAX_BEHIND = {
    "BERNOULLI": ("TABLESAMPLE",),
    "FILTER": (")",),
    "FIRST": ("FETCH",),
    "MATERIALIZED": ("AS", "NOT"),
    "NEXT": ("FETCH",),
    "OVER": (")",),
    "REPEATABLE": (")",),
    "SECOND": ("TO", "'x'"),
    "SETS": ("GROUPING",),
    "SYSTEM": ("TABLESAMPLE",),
}

# Declared VOLATILE by extensions, in C, and as harmless as random().
HARMLESS_IN_EXTENSIONS = ("gen_random_bytes", "gen_salt", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4")

# Declared IMMUTABLE, and yet "recovery is in progress".
NOT_DURING_RECOVERY = frozenset({"pg_walfile_name", "pg_walfile_name_offset"})

# Relations that answer for one server or one session alone: a client that asks for them means its primary.
PER_SERVER_RELATIONS = (
    "PG_STAT_",
    "PG_STATIO_",
    "PG_LOCKS",
    "PG_CURSORS",
    "PG_PREPARED_",
    "PG_REPLICATION_",
    "PG_SETTINGS",
    "PG_FILE_SETTINGS",
    "PG_HBA_FILE_RULES",
    "PG_BACKEND_MEMORY_CONTEXTS",
    "PG_SHMEM_ALLOCATIONS",
    "PG_TEMP",
)

# Words that make a query write, wherever they stand in it, and what follows FOR where rows are locked.
WRITING_WORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "INTO"})
LOCKING_WORDS = frozenset({"UPDATE", "SHARE", "NO", "KEY"})
