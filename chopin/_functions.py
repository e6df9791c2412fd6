"""Names of the server's functions whose effects are known, and words that are no names.

Owns: the tables that `_effects` looks in.
Layer L3. Imports nothing.

Rules
- A function that is not here is taken for one that does anything.
- A name is here if all functions of that name in pg_catalog are harmless. The tests ask
  every server which of them are volatile.
- Names that only newer servers have are here too, and words that are keywords only
  there: an older one may have a function of the user's by that name, as it may by the
  name of any of its own.
- Left out on purpose, though it returns something: what runs SQL of its own (`ts_stat`,
  `ts_rewrite`, `query_to_xml` and its like), reads files, loads libraries, or sets
  something of the session.

Source: PostgreSQL documentation, "Functions and Operators", "SQL Key Words".
"""

from __future__ import annotations


def words(*texts: str) -> frozenset[str]:
    """The words of texts, between which there are spaces."""
    return frozenset(" ".join(texts).split())


# By the sections of the documentation's chapter.
_HARMLESS_BY_SECTION = {
    "Comparison": "num_nonnulls num_nulls",
    "Mathematical": """
        abs cbrt ceil ceiling degrees div erf erfc exp factorial floor gamma gcd lcm
        lgamma ln log log10 min_scale mod pi power pow radians round scale sign sqrt
        trim_scale trunc width_bucket
        random random_normal
        acos acosd asin asind atan atand atan2 atan2d cos cosd cot cotd sin sind tan
        tand sinh cosh tanh asinh acosh atanh
    """,
    "String": """
        bit_length btrim casefold char_length character_length lower lpad ltrim
        normalize octet_length overlay position rpad rtrim substring upper
        ascii chr concat concat_ws format initcap left length md5 parse_ident
        pg_client_encoding quote_ident quote_literal quote_nullable regexp_count
        regexp_instr regexp_like regexp_match regexp_matches regexp_replace
        regexp_split_to_array regexp_split_to_table regexp_substr repeat replace
        reverse right split_part starts_with string_to_array string_to_table strpos
        substr to_ascii to_bin to_hex to_oct translate unicode_assigned unistr
        is_normalized like notlike like_escape
    """,
    "Binary String": """
        bit_count crc32 crc32c get_bit get_byte set_bit set_byte sha224 sha256 sha384
        sha512 convert convert_from convert_to encode decode
    """,
    "Data Type Formatting": "to_char to_date to_number to_timestamp",
    "Date/Time": """
        age clock_timestamp date_add date_bin date_part date_subtract date_trunc
        extract isfinite justify_days justify_hours justify_interval make_date
        make_interval make_time make_timestamp make_timestamptz now overlaps
        statement_timestamp timeofday timezone transaction_timestamp
    """,
    "Enum Support": "enum_first enum_last enum_range",
    "Geometric": """
        area center diagonal diameter height isclosed isopen length npoints pclose
        popen radius slope width bound_box
    """,
    "Network Address": """
        abbrev broadcast family host hostmask inet_merge inet_same_family masklen
        netmask network set_masklen macaddr8_set7bit
    """,
    "Text Search": """
        array_to_tsvector get_current_ts_config json_to_tsvector jsonb_to_tsvector
        numnode phraseto_tsquery plainto_tsquery querytree setweight strip to_tsquery
        to_tsvector ts_debug ts_delete ts_filter ts_headline ts_lexize ts_parse
        ts_rank ts_rank_cd ts_token_type tsquery_phrase tsvector_to_array
        websearch_to_tsquery
    """,
    "UUID": """
        gen_random_uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
    """,
    "XML": """
        xml xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document
        xmlcomment xmlexists xmltext xpath xpath_exists
    """,
    "JSON": """
        array_to_json json_array_elements json_array_elements_text json_array_length
        json_build_array json_build_object json_each json_each_text json_extract_path
        json_extract_path_text json_object json_object_keys json_populate_record
        json_populate_recordset json_strip_nulls json_to_record json_to_recordset
        json_typeof row_to_json to_json
        jsonb_array_elements jsonb_array_elements_text jsonb_array_length
        jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
        jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object
        jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match
        jsonb_path_match_tz jsonb_path_query jsonb_path_query_array
        jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz
        jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid
        jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax
        jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof to_jsonb
    """,
    "Array": """
        array_append array_cat array_dims array_fill array_length array_lower
        array_ndims array_position array_positions array_prepend array_remove
        array_replace array_reverse array_sample array_shuffle array_sort
        array_to_string array_upper cardinality trim_array unnest
    """,
    "Range": """
        daterange int4range int8range numrange tsrange tstzrange datemultirange
        int4multirange int8multirange nummultirange tsmultirange tstzmultirange
        isempty lower_inc lower_inf multirange range_merge upper_inc upper_inf
    """,
    "Aggregate": """
        any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or count every
        json_agg json_agg_strict json_object_agg json_object_agg_strict
        json_object_agg_unique json_object_agg_unique_strict
        jsonb_agg jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict
        jsonb_object_agg_unique jsonb_object_agg_unique_strict
        max min range_agg range_intersect_agg string_agg sum xmlagg
        corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept
        regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp
        var_pop var_samp variance
        mode percentile_cont percentile_disc
    """,
    "Window": """
        cume_dist dense_rank first_value lag last_value lead nth_value ntile
        percent_rank rank row_number
    """,
    "Set Returning": "generate_series generate_subscripts",
    "System Information: Session": """
        current_database current_query current_schema current_schemas
        inet_client_addr inet_client_port inet_server_addr inet_server_port
        pg_backend_pid pg_blocking_pids pg_conf_load_time pg_is_other_temp_schema
        pg_listening_channels pg_my_temp_schema pg_notification_queue_usage
        pg_postmaster_start_time pg_trigger_depth version current_setting
    """,
    "System Information: Access Privilege": """
        has_any_column_privilege has_column_privilege has_database_privilege
        has_foreign_data_wrapper_privilege has_function_privilege
        has_language_privilege has_largeobject_privilege has_parameter_privilege
        has_schema_privilege has_sequence_privilege has_server_privilege
        has_table_privilege has_tablespace_privilege has_type_privilege pg_has_role
        row_security_active acldefault aclexplode makeaclitem
    """,
    "System Information: Visibility": """
        pg_collation_is_visible pg_conversion_is_visible pg_function_is_visible
        pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible
        pg_statistics_obj_is_visible pg_table_is_visible pg_ts_config_is_visible
        pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
        pg_type_is_visible
    """,
    "System Information: Catalog": """
        format_type pg_basetype pg_char_to_encoding pg_collation_for
        pg_column_is_updatable pg_encoding_to_char pg_get_catalog_foreign_keys
        pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_function_arguments
        pg_get_function_identity_arguments pg_get_function_result
        pg_get_function_arg_default pg_get_function_sqlbody pg_get_indexdef
        pg_get_keywords pg_get_partition_constraintdef pg_get_partkeydef
        pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef
        pg_get_triggerdef pg_get_userbyid pg_get_viewdef
        pg_index_column_has_property pg_index_has_property
        pg_indexam_has_property pg_options_to_table pg_relation_is_updatable
        pg_sequence_last_value pg_sequence_parameters pg_settings_get_flags
        pg_tablespace_databases pg_tablespace_location pg_typeof to_regclass
        to_regcollation to_regnamespace to_regoper to_regoperator to_regproc
        to_regprocedure to_regrole to_regtype to_regtypemod getdatabaseencoding
        oidvectortypes
    """,
    "System Information: Objects, Comments, Validity": """
        pg_describe_object pg_get_acl pg_get_object_address pg_identify_object
        pg_identify_object_as_address col_description obj_description
        shobj_description pg_input_error_info pg_input_is_valid
    """,
    "System Information: Transactions": """
        mxid_age pg_current_snapshot pg_current_xact_id_if_assigned pg_snapshot_xip
        pg_snapshot_xmax pg_snapshot_xmin pg_visible_in_snapshot pg_xact_status
        pg_xact_commit_timestamp txid_current_if_assigned txid_current_snapshot
        txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin txid_status
        txid_visible_in_snapshot
    """,
    "System Information: Version, Size, Recovery": """
        icu_unicode_version unicode_version
        pg_column_compression pg_column_size pg_column_toast_chunk_id
        pg_database_size pg_indexes_size pg_relation_size pg_size_bytes pg_size_pretty
        pg_table_size pg_tablespace_size pg_total_relation_size
        pg_filenode_relation pg_relation_filenode pg_relation_filepath
        pg_partition_ancestors pg_partition_root pg_partition_tree
        pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
        pg_is_in_recovery pg_is_wal_replay_paused pg_get_wal_replay_pause_state
        pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
        pg_wal_lsn_diff pg_walfile_name pg_walfile_name_offset
        pg_timezone_names pg_show_all_settings
    """,
    # a type's name as a function converts to it
    "Value Expressions: Type Casts": """
        bit bool box bpchar bytea char cidr circle date float4 float8 int2 int4 int8
        interval lseg macaddr macaddr8 money name numeric oid path point polygon
        regclass text time timestamp timestamptz timetz varbit varchar
    """,
}

#: Functions that neither change anything nor wait.
HARMLESS = words(*_HARMLESS_BY_SECTION.values())

#: Functions that change or wait, and leave nothing in the session once the transaction
#: has ended. (That `currval` remembers is not counted: an INSERT can do that, too.)
TIDY = words(
    """
    nextval setval currval lastval
    pg_notify pg_sleep pg_sleep_for pg_sleep_until
    pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared pg_advisory_unlock pg_advisory_unlock_all
    pg_advisory_unlock_shared
    pg_current_xact_id txid_current pg_export_snapshot
    pg_cancel_backend pg_terminate_backend pg_reload_conf pg_rotate_logfile
    pg_switch_wal pg_create_restore_point
    lo_close lo_creat lo_create lo_export lo_from_bytea lo_get lo_import lo_lseek
    lo_lseek64 lo_open lo_put lo_tell lo_tell64 lo_truncate lo_truncate64 lo_unlink
    loread lowrite
    """
)

#: Functions that can be called with one argument, as if they were a column of it, and
#: that do more than to return something, or may; but for those that are tidy.
ACTING = words(
    """
    brin_summarize_new_values gin_clean_pending_list plpgsql_validator setseed ts_stat
    pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock
    pg_try_advisory_lock_shared pg_backup_start pg_backup_stop pg_start_backup
    pg_stop_backup pg_create_physical_replication_slot pg_drop_replication_slot
    pg_import_system_collations pg_log_backend_memory_contexts pg_promote
    pg_replication_origin_create pg_replication_origin_drop
    pg_replication_origin_session_progress pg_replication_origin_session_setup
    pg_restore_attribute_stats pg_restore_relation_stats pg_stat_reset_backend_stats
    pg_stat_reset_replication_slot pg_stat_reset_shared
    pg_stat_reset_single_function_counters pg_stat_reset_single_table_counters
    pg_stat_reset_slru pg_stat_reset_subscription_stats
    """
)

#: Words that, unqualified and unquoted, are never the name of a function of the user's
#: on the newest server (JSON's are keywords from 16 and 17 on): reserved ones and those
#: with a syntax of their own. TREAT is left out: it calls the function that has the
#: name of the type.
KEYWORDS = words(
    """
    all and any array as between bigint bit boolean both case cast char character check
    coalesce current_time current_timestamp dec decimal default desc distinct else
    except exists extract fetch float for foreign from greatest group grouping having
    in int integer intersect interval into json_array json_arrayagg
    json_exists json_object json_objectagg json_query json_scalar json_serialize
    json_table json_value lateral leading least limit localtime localtimestamp
    merge_action nchar none normalize not null nullif numeric offset on only or order
    overlay position precision primary real references returning row select smallint
    some substring table then time timestamp to trailing trim union unique
    using values varchar variadic when where window with xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
    xmltable
    """
)
