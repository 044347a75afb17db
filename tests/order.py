"""Which files of tests are begun first."""

# Files of half a minute down to ten seconds, longest first. Of several processes, each of which takes a file at a time,
# none shall begin one of these when the others are done.
LONG = """
    tools/test_resume ops/test_kernel_build live/test_session ops/test_kernel_host tools/test_export io/test_network
    training/test_loop io/test_files tools/test_workers ops/test_deform_attn test_privacy tools/test_explain test_engine
    test_pipeline test_detect test_promises_live ops/test_kernel_mutants test_wheel tools/test_batch test_threads
    tools/test_kernel_tools io/test_video model/test_tfpose model/test_cost live/test_serve tools/test_plot
"""
