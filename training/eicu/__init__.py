"""The eICU Collaborative Research Database: its public csv.gz tables, read as a hospital's events would be.

Pollard et al., The eICU Collaborative Research Database, Scientific Data 5:180178 (2018); demo 2.0.1, ODbL 1.0.
"""
