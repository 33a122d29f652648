"""The columns of every table, in order, with their types: what parquet files of version 5 hold."""

import pytest

from winit_jax.store import schema

FROZEN = {
    "networks": """
        activation:name init:name std:float gain:float bias_std:float bias_init:name normalization:name
        norm_epsilon:float block:name norm_position:name skip_scale:float branch_scale:float
        attention_gain:float dtype:name stem_scale:float width:whole depth:whole seed:whole learning_rate:float
        readout_scale:float std_rule:name gain_rule:name bias_std_rule:name norm_epsilon_rule:name
        skip_scale_rule:name branch_scale_rule:name attention_gain_rule:name stem_scale_rule:name
        learning_rate_rule:name readout_scale_rule:name preact_mean:float preact_std:float
        log10_preact_rms:float act_mean:float act_std:float act_min:float act_max:float log10_act_rms:float
        saturated:float dead:float zero:float unit_similarity:float input_correlation:float
        input_decorrelation:float position_similarity:float attention_entropy:float nonfinite:float
        log10_jacobian:float theory_log10_preact_rms:float theory_log10_act_rms:float
        theory_input_correlation:float theory_position_similarity:float theory_log10_jacobian:float chi:float
        underflow:float subnormal:float overflow:float
        sv_min:float sv_median:float sv_max:float sv_mean_square:float sv_var_square:float train_loss:float
        train_accuracy:float test_loss:float test_accuracy:float log10_grad_norm:float diverged_at:whole
        steps_to_accuracy:whole
    """,
    "layers": """
        activation:name init:name std:float gain:float bias_std:float bias_init:name normalization:name
        norm_epsilon:float block:name norm_position:name skip_scale:float branch_scale:float
        attention_gain:float dtype:name stem_scale:float width:whole depth:whole seed:whole std_rule:name gain_rule:name
        bias_std_rule:name norm_epsilon_rule:name skip_scale_rule:name branch_scale_rule:name
        attention_gain_rule:name stem_scale_rule:name layer:whole site:name preact_mean:float preact_std:float
        log10_preact_rms:float act_mean:float act_std:float act_min:float act_max:float log10_act_rms:float
        saturated:float dead:float zero:float unit_similarity:float input_correlation:float
        input_decorrelation:float position_similarity:float attention_entropy:float nonfinite:float
        log10_jacobian:float lsuv_factor:float lsuv_inner_factor:float theory_log10_preact_rms:float
        theory_log10_act_rms:float theory_input_correlation:float theory_position_similarity:float
        theory_log10_jacobian:float chi:float log10_preact_grad_rms:float log10_weight_grad_rms:float
        underflow:float subnormal:float overflow:float grad_underflow:float grad_subnormal:float grad_overflow:float
    """,
    "gradients": """
        activation:name init:name std:float gain:float bias_std:float bias_init:name normalization:name
        norm_epsilon:float block:name norm_position:name skip_scale:float branch_scale:float
        attention_gain:float dtype:name stem_scale:float width:whole depth:whole seed:whole std_rule:name gain_rule:name
        bias_std_rule:name norm_epsilon_rule:name skip_scale_rule:name branch_scale_rule:name
        attention_gain_rule:name stem_scale_rule:name layer:whole site:name log10_preact_grad_rms:float
        log10_weight_grad_rms:float grad_underflow:float grad_subnormal:float grad_overflow:float
    """,
    "histograms": """
        activation:name init:name std:float gain:float bias_std:float bias_init:name normalization:name
        norm_epsilon:float block:name norm_position:name skip_scale:float branch_scale:float
        attention_gain:float dtype:name stem_scale:float width:whole depth:whole seed:whole std_rule:name gain_rule:name
        bias_std_rule:name norm_epsilon_rule:name skip_scale_rule:name branch_scale_rule:name
        attention_gain_rule:name stem_scale_rule:name layer:whole site:name bin_low:float bin_high:float
        count:whole
    """,
    "gradient_histograms": """
        activation:name init:name std:float gain:float bias_std:float bias_init:name normalization:name
        norm_epsilon:float block:name norm_position:name skip_scale:float branch_scale:float
        attention_gain:float dtype:name stem_scale:float width:whole depth:whole seed:whole std_rule:name gain_rule:name
        bias_std_rule:name norm_epsilon_rule:name skip_scale_rule:name branch_scale_rule:name
        attention_gain_rule:name stem_scale_rule:name layer:whole site:name bin_low:float bin_high:float
        count:whole log10_preact_grad_rms:float
    """,
    "training": """
        activation:name init:name std:float gain:float bias_std:float bias_init:name normalization:name
        norm_epsilon:float block:name norm_position:name skip_scale:float branch_scale:float
        attention_gain:float stem_scale:float width:whole depth:whole seed:whole learning_rate:float
        readout_scale:float std_rule:name gain_rule:name bias_std_rule:name norm_epsilon_rule:name
        skip_scale_rule:name branch_scale_rule:name attention_gain_rule:name stem_scale_rule:name
        learning_rate_rule:name readout_scale_rule:name step:whole train_loss:float train_accuracy:float
        test_loss:float test_accuracy:float log10_grad_norm:float unit_similarity:float
    """,
    "theory": """
        activation:name init:name gain:float bias_std:float bias_init:name normalization:name norm_epsilon:float
        block:name norm_position:name skip_scale:float branch_scale:float attention_gain:float stem_scale:float
        depth:whole gain_rule:name bias_std_rule:name norm_epsilon_rule:name skip_scale_rule:name
        branch_scale_rule:name attention_gain_rule:name stem_scale_rule:name theory_log10_preact_rms:float
        theory_log10_act_rms:float theory_input_correlation:float theory_position_similarity:float
        theory_log10_jacobian:float chi:float
    """,
    "mean_field": """
        activation:name gain:float bias_std:float start:float q_star:float c_star:float chi1:float xi_q:float
        xi_c:float critical_gain:float jump_gain:float
    """,
}
TYPES = {
    "dictionary<values=string, indices=int16, ordered=0>": "name",
    "int64": "whole",
    "double": "float",
}


def test_the_tables_are_those_of_version_5():
    assert schema.VERSION == 5
    assert [*schema.TABLES, *schema.PREDICTIONS] == list(FROZEN)


@pytest.mark.parametrize("table", FROZEN)
def test_columns_keep_their_names_types_and_order(table):
    assert [f"{field.name}:{TYPES[str(field.type)]}" for field in schema.schema(table)] == FROZEN[table].split()
