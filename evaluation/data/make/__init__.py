"""Makes the sample data: `python -m evaluation.data.make` writes evaluation/data/sample anew, byte for byte.

* months                                 - the 24 months and how they are written
* meridian_metrics, fennick_metrics      - every figure of the two companies, from one seed each
* tables, meridian_tables, fennick_tables - the same figures as CSV and HTML
* pdf                                    - pages/**.txt as PDF
* table_questions(.yaml)                 - questions that are computed from tables
* restated(.csv)                         - where prose says again what a table says
* ground_truth                           - joins them with hand/*.yaml, the questions written by hand
* arithmetic                             - works out the sums that prove a figure
* second_pass.csv                        - the answers of the second pass over the questions written by hand
"""
