"""Train the same images with each method, judge the files together, and say which method to use: `tetrad compare`.

`wish` is what is compared, and `recipes` makes the recipe of each method from it. `compare` does everything in one
folder and keeps what is already there: `trainings` trains what is missing, and `judge` scores the files by the same
prompts and seeds. `figures` reads what was measured of a run, and `answer` says by a fixed rule which method to use;
the web page uses both. `comparison` is the result, `sheet` shows it as one image, and `page` as comparison.html.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "answer": ["RULE", "Answer", "find_answer"],
        "compare": ["compare_methods"],
        "comparison": ["Comparison"],
        "figures": [
            "COMPARED",
            "MEASURED",
            "TITLES",
            "Result",
            "describe_figures",
            "format_duration",
            "list_figures",
            "measure_memory",
            "measure_size",
            "measure_time",
            "name_figure",
            "read_result",
        ],
        "wish": ["SAMPLE_GOALS", "Wish", "make_wish"],
    },
)
